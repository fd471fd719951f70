"""A Hub data set as the limited process sees it: its facts, its splits as streams, and the files that its rows name.

Nothing outside its repository at the one commit is opened, and no code of it is run.
"""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, TypedDict, cast

from studio.datasets.imports.hubsource import HubSource
from studio.datasets.imports.sources import MAX_FILE
from studio.errors import StudioError
from studio.messages import Message

if TYPE_CHECKING:
    from datasets import DatasetBuilder, IterableDataset


class ReadError(StudioError):
    """It cannot be read; the message is a sentence for a person."""


class HubFacts(TypedDict, total=False):
    """What is known of a Hub data set: its commit, whether it is private or gated, its config, and the rows of each
    split where they are counted. Nothing of a file."""

    sha: str
    private: bool
    gated: bool
    config: str
    splits: dict[str, int | None]


def hub_splits(source: HubSource, token: str | None) -> tuple[HubFacts, dict[str, IterableDataset]]:
    """Facts of a Hub data set, and its splits as streams {name: stream}. Raises ReadError."""
    from datasets import config as limits

    facts = _repository(source, token)
    where = f"hf://datasets/{source.name}@{facts['sha']}/"
    builder = _builder(source, facts["sha"], token)
    for split, files in (builder.config.data_files or {}).items():
        for file in files:
            if not _inside(str(file), where):
                raise ReadError(Message("{name} points outside its repository (split {split}): such data sets are not "
                                        "read.", name=source.name, split=split))
    streams = cast("dict[str, IterableDataset]", builder.as_streaming_dataset())
    if source.split:
        if source.split not in streams:
            raise ReadError(Message("There is no split {split} in {name}; there are: {names}.",
                                    split=repr(source.split[:100]), name=source.name, names=", ".join(streams)))
        streams = {source.split: streams[source.split]}
    known = builder.info.splits or {}
    facts["splits"] = dict.fromkeys(streams)
    for name in known.keys() & streams.keys():
        facts["splits"][name] = known[name].num_examples
    facts["config"] = builder.config.name
    limits.STREAMING_READ_MAX_RETRIES = 5
    return facts, dict(streams)


def _inside(path: str, where: str) -> bool:
    """Whether a path lies below `where` (the repository at its commit), with no way up and no other file system."""
    steps = path.removeprefix(where).replace("\\", "/").split("/")
    return path.startswith(where) and "::" not in path and {"", ".", ".."}.isdisjoint(steps)


def _repository(source: HubSource, token: str | None) -> HubFacts:
    """Its commit and whether it is private or gated. Raises ReadError: not there, no access, a loading script."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi(token=token or False).dataset_info(source.name, revision=source.revision)
    except GatedRepoError:
        raise ReadError(_gated(source)) from None
    except RepositoryNotFoundError:
        raise ReadError(Message("There is no data set {name} on the Hub, or it is private: check the name, and give a "
                                "token that may read it.", name=source.name)) from None
    except RevisionNotFoundError:
        raise ReadError(Message("{name} has no revision {revision}: give a branch, tag or commit of it.",
                                name=source.name, revision=repr(source.revision))) from None
    names = [entry.rfilename for entry in info.siblings or []]
    script = f"{source.name.rpartition('/')[2]}.py"
    if script in names:
        raise ReadError(Message("{name} is made by a loading script ({script}), which is never run here: choose a data "
                                "set of parquet files or pictures; the Hub has a parquet copy of many under the "
                                "revision refs/convert/parquet.", name=source.name, script=script))
    return {"sha": info.sha or "", "private": bool(info.private), "gated": bool(info.gated)}


def _gated(source: HubSource) -> str:
    return Message("{name} is gated: accept its terms at {page}, and give a token of that account.", name=source.name,
                   page=f"https://huggingface.co/datasets/{source.name}")


def _builder(source: HubSource, sha: str, token: str | None) -> DatasetBuilder:
    """The builder of its present files. Raises ReadError."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    try:
        return datasets.load_dataset_builder(
            source.name, source.config, revision=sha, data_dir=source.data_dir,
            data_files=list(source.data_files) or None, token=token or False)
    except DatasetNotFoundError as error:
        if "gated" in str(error):
            raise ReadError(_gated(source)) from None
        raise ReadError(f"{source.name}: {error}") from None
    except (ValueError, RuntimeError, FileNotFoundError, TypeError) as error:
        place = " ".join([*source.data_files, source.data_dir or ""]).strip()
        why = first_line(error)
        if not place:
            raise ReadError(Message("{name} cannot be read: {why}", name=source.name, why=why)) from None
        raise ReadError(Message("{name} (of {place}) cannot be read: {why}", name=source.name, place=place,
                                why=why)) from None


def first_line(error: BaseException) -> str:
    """What an error says, as one line of at most 400 characters."""
    return " ".join(str(error).split())[:400] or type(error).__name__


class Repository:
    """The files of a Hub data set at one commit, by the paths that its rows give."""

    def __init__(self, where: str, token: str | None):
        from huggingface_hub import HfFileSystem

        self.where = where
        self._files = HfFileSystem(token=token or False)

    def read(self, path: str) -> bytes:
        """The bytes of a file of it, or of `zip://name::` in a zip of it. Raises ReadError, for any other place too."""
        inner = ""
        archive = path
        if path.startswith("zip://") and path.count("::") == 1:
            inner, archive = path.split("::")
        if not _inside(archive, self.where):
            raise ReadError(Message("the row names a file outside its data set"))
        try:
            with ExitStack() as opened:
                file = cast("IO[bytes]", opened.enter_context(self._files.open(archive.removeprefix("hf://"), "rb")))
                if inner:
                    unpacked = opened.enter_context(zipfile.ZipFile(file))
                    file = opened.enter_context(unpacked.open(inner.removeprefix("zip://")))
                return file.read(MAX_FILE + 1)
        except MemoryError:
            raise
        except Exception as error:  # of the Hub's client or of a zip, of many kinds: it costs this row alone
            raise ReadError(Message("cannot be fetched ({why})", why=first_line(error)[:200])) from None
