"""Where a base model's files come from: the embedded one, a folder, or a Hugging Face Hub repository."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio import config, families, storage
from studio.families import EMBEDDED, BaseProblem, Family, NeedsToken, Progress, Source
from studio.messages import Message

if TYPE_CHECKING:
    from huggingface_hub.utils import tqdm

HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)
INDEX = "model_index.json"
FIRST = "sd"
MOST_FILES = 20_000  # of a repository
VOCABULARY_BYTES = 64 << 20  # of a tokenizer's file; the largest known ones have half of it
VARIANT = re.compile(r"[A-Za-z0-9][\w-]{0,39}", re.ASCII)


def locate(base: str, revision: str | None = None, variant: str | None = None) -> Source | None:
    """The base's files on this machine, without network: `embedded`, a folder, or a Hub id already downloaded.

    None for a Hub id whose files are not all here yet. Raises BaseProblem for what can never work."""
    _check_names(base, revision, variant)
    if base == "embedded" or base.startswith(("/", "~")):
        if revision:
            raise BaseProblem(Message("{base} is a folder on this machine and has no revisions: leave the revision "
                                      "empty", base=base))
        folder = EMBEDDED if base == "embedded" else _folder(base)
        return Source(folder, base, variant, None)
    cached = _cached(base, revision, variant)
    if cached and any(_complete(families.get(name), cached) for name in families.names()):
        return cached
    return None


def here(model: config.Model) -> Source | None:
    """The files of a config's `model` section, where they are on this machine; None for a base that is gone."""
    try:
        return locate(model.base, model.revision, model.variant)
    except BaseProblem:
        return None


def family_of(model: config.Model) -> Family:
    """The family of a config's `model` section; where none is named, the one that its base names.

    A base that is gone cannot be asked: then the one that configs meant when there was no other. Raises BaseProblem."""
    if model.family:
        return families.get(model.family)
    base = here(model)
    if base:
        return families.of(base)
    return families.get(FIRST)


def fetch_configs(family: Family | None, base: str, revision: str | None = None, variant: str | None = None,
                  token: str | None = None) -> Source:
    """The base with at least its JSON files here, after the check of its family; of a Hub id, no weights are fetched.

    Without a `family` it is the one that the base names. Raises BaseProblem: no such repository, no access, no network,
    or not a base of that family."""
    source = locate(base, revision, variant) or _configs(family, base, revision, variant, token)
    family = family or families.of(source)
    family.check(source)
    return source


def _configs(family: Family | None, base: str, revision: str | None, variant: str | None, token: str | None) -> Source:
    """The JSON files of a base on the Hub, and the names of all its files."""

    def small(patterns: list[str], commit: str | None) -> Path:
        _check_small(base, patterns, sizes)
        return _snapshot(base, commit, token, patterns, _bar(lambda done: None))

    with _explained(base, revision):
        sizes = _sizes(base, revision or "main", token)
        _check_repository(base, frozenset(sizes))
        folder = small([INDEX], revision)
        family = family or families.of(Source(folder, base, variant, folder.name, frozenset(sizes)))
        patterns = [pattern for pattern in family.download_patterns(variant) if pattern.endswith(".json")]
        folder = small(patterns, folder.name)  # of the commit in which the family was read
        return Source(folder, base, variant, folder.name, frozenset(_sizes(base, folder.name, token)))


def fetch(family: Family, base: str, revision: str | None = None, variant: str | None = None,
          token: str | None = None, progress: Progress = lambda done, total: None) -> Source:
    """The base with everything the family needs on this machine, checked before its weights are fetched.

    A base once here is never asked for again; of an interrupted download the finished files are kept. `progress` is
    called from the downloading threads. Raises BaseProblem as `fetch_configs`."""
    source = fetch_configs(family, base, revision, variant, token)
    if source.listing is None:
        return source
    folder = source.folder
    commit = folder.name
    patterns = family.download_patterns(variant)
    _sweep(folder.parent.parent / "blobs")
    with _explained(base, revision):
        sizes = {name: size for name, size in _sizes(base, commit, token).items() if _matches(name, patterns)}
        total = sum(sizes.values())
        before = sum(size for name, size in sizes.items() if (folder / name).exists())
        progress(before, total)
        _snapshot(base, commit, token, patterns, _bar(lambda done: progress(min(before + done, total), total)))
    complete = Source(folder, base, variant, commit)
    family.check(complete)
    return complete


def _matches(name: str, patterns: list[str]) -> bool:
    """Whether a file is one of those that the patterns name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_names(base: str, revision: str | None, variant: str | None) -> None:
    if not base.startswith(("/", "~")) and (not HUB_ID.fullmatch(base) or ".." in base or "--" in base):
        raise BaseProblem(Message("{base} is no base model: give `embedded`, a diffusers folder from / or ~, or a Hub "
                                  "id such as org/name", base=repr(base[:200])))
    if revision and (not REVISION.fullmatch(revision) or ".." in revision):
        raise BaseProblem(Message("{name} is no revision: give a branch, tag or commit, or leave it empty",
                                  name=repr(revision[:200])))
    if variant and not VARIANT.fullmatch(variant):
        raise BaseProblem(Message("{variant} is no variant: give a word such as fp16, or leave it empty",
                                  variant=repr(variant[:40])))


def _folder(base: str) -> Path:
    try:
        folder = Path(base).expanduser().resolve()
    except RuntimeError:
        raise BaseProblem(Message("there is no home folder for {base}: give a path from /", base=base[:200])) from None
    if folder.is_file():
        raise BaseProblem(Message("{base} is a single file; a base is a diffusers folder: convert it with diffusers "
                                  "(StableDiffusionPipeline.from_single_file, then save_pretrained)", base=base))
    if not folder.is_dir():
        raise BaseProblem(Message("{base} does not exist: give a folder written by a diffusers pipeline's "
                                  "save_pretrained", base=base))
    if not (folder / INDEX).is_file():
        raise BaseProblem(Message("{base} has no model_index.json, so it is no diffusers folder: give a folder written "
                                  "by a diffusers pipeline's save_pretrained", base=base))
    return folder


# ------------------------------------------------------------------------------------------------------------ the Hub


def _cached(base: str, revision: str | None, variant: str | None) -> Source | None:
    """The snapshot of a Hub id in the local cache, complete or not."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    root = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=base, repo_type="model")
    ref = root / "refs" / (revision or "main")
    commit = revision
    if ref.is_file():
        commit = ref.read_text().strip()
    if not commit or not re.fullmatch(r"[0-9a-f]{40}", commit):
        return None
    folder = root / "snapshots" / commit
    return Source(folder, base, variant, commit) if folder.is_dir() else None


def _complete(family: Family, source: Source) -> bool:
    try:
        family.check(source)
    except BaseProblem:
        return False
    return True


def _sizes(base: str, commit: str, token: str | None) -> dict[str, int]:
    """Bytes of every file of a commit, or a branch."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    tree = HfApi(token=token or False).list_repo_tree(base, recursive=True, revision=commit)
    sizes = {entry.path: entry.size for entry in islice(tree, MOST_FILES + 1) if isinstance(entry, RepoFile)}
    if len(sizes) > MOST_FILES:
        raise BaseProblem(Message("{base} on the Hub holds more than {number:,} files, so it is no base model: choose "
                                  "a diffusers repository", base=base, number=MOST_FILES))
    return sizes


def _check_small(base: str, patterns: list[str], sizes: dict[str, int]) -> None:
    """Refuse, before anything is fetched, what is too large for a config or a vocabulary."""
    for name, size in sizes.items():
        most = VOCABULARY_BYTES if "tokenizer" in name else families.JSON_BYTES
        if size > most and _matches(name, patterns):
            raise BaseProblem(Message("{base}: {name} has {size:.0f} MB where a base model's has less than {most:.0f}: "
                                      "choose another repository", base=base, name=name[:100], size=size / 1e6,
                                      most=most / 1e6))


def _check_repository(base: str, names: frozenset[str]) -> None:
    if INDEX not in names:
        kind = Message("other files")
        if any(name.endswith((".safetensors", ".ckpt")) for name in names):
            kind = Message("single-file weights")
        raise BaseProblem(Message("{base} on the Hub holds {kind}, not a diffusers folder (no model_index.json): "
                                  "choose a diffusers repository", base=base, kind=kind))


def _snapshot(base: str, revision: str | None, token: str | None, patterns: list[str], bar: type[tqdm]) -> Path:
    """The folder of the commit that `revision` is, its name; False as the token keeps out one saved on the machine."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(base, revision=revision, token=token or False, allow_patterns=patterns,
                                  tqdm_class=bar, max_workers=4))


def _sweep(blobs: Path) -> None:
    """Remove what a killed download left: huggingface_hub never goes on with such a file, and never removes it."""
    for part in blobs.glob("*.incomplete"):
        if time.time() - part.stat().st_mtime > 86400:
            storage.clear(part)


def _bar(report: Callable[[int], None]) -> type[tqdm]:
    """A tqdm class that draws nothing and reports the bytes written of all files together."""
    from huggingface_hub.utils import tqdm

    lock = threading.Lock()

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts = kwargs.get("unit") == "B" and not str(kwargs.get("name")).endswith(".transfer")
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            with lock:
                self.n += n or 0
                if self.counts:
                    report(int(self.n))

    return Bar


@contextmanager
def _explained(base: str, revision: str | None) -> Iterator[None]:
    """Every way the Hub says no, as one sentence with what to do; the token is never part of it."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        page = f"https://huggingface.co/{base}"
        raise NeedsToken(Message("{base} is gated: accept its licence at {page} while signed in, then give a token of "
                                 "that account that may read it", base=base, page=page)) from error
    except errors.RevisionNotFoundError as error:
        raise BaseProblem(Message("{base} has no revision {revision}: give one of its branches, tags or commits",
                                  base=base, revision=repr(revision))) from error
    except errors.RepositoryNotFoundError as error:
        raise NeedsToken(Message("there is no model {base} on the Hub, or it is private: check the name, or give a "
                                 "token of an account that may read it", base=base)) from error
    except errors.HfHubHTTPError as error:
        raise BaseProblem(Message("the Hub answered {status} for {base}: try again later",
                                  status=error.response.status_code, base=base)) from error
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError) as error:
        raise BaseProblem(Message("{base} is not on this machine and the Hub cannot be reached: check the network, or "
                                  "choose the embedded base or a folder", base=base)) from error
