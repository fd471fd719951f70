"""The process that reads a bundle (a limited one): from the zip to files that need not be believed any more.

A request is {archive: path in hex, parts: "all" or "made"}. Every file is unpacked into the process's folder after its
name, its size and its SHA-256 were compared with bundle.json, and looked at by its kind: JSON is parsed, rows and
events are cut down to what this studio writes, pictures are decoded, weights' headers are checked, a checkpoint is
compared with its manifest. The answer is {facts: {...}}, {problem} in words, or of its config {problems: [{field,
message}]}.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from studio import config as config_
from studio import limited, storage, tensors
from studio.bundle import layout
from studio.bundle.layout import BadBundle
from studio.bundle.rows import row_of
from studio.datasets.pictures import decoding
from studio.folders import edits, foreign
from studio.messages import JsonObject, Message
from studio.storage import zips

MEMORY = 2 << 30  # bytes of address space
SECONDS = 120  # of processor time for each file, or picture
BLOCK = 1 << 20  # bytes
EVENT_BYTES_A_SECOND = 1 << 20
MOST_CLAIMED = 2000  # files of a base


class UncheckedBundle(NamedTuple):
    """The objects of bundle.json; what is in them is not known."""

    run: JsonObject
    base: JsonObject
    files: JsonObject


def answer(request: JsonObject, folder: Path) -> JsonObject:
    """What `studio.bundle.unpack` asks for; see above."""
    archive = Path(os.fsdecode(bytes.fromhex(str(request["archive"]))))
    try:
        return {"facts": read(archive, folder, pictures=request["parts"] == "all")}
    except BadBundle as problem:
        return {"problem": str(problem)}
    except config_.ConfigError as error:
        problems = [{"field": problem.field[:200], "message": problem.message[:2000]}
                    for problem in error.problems[:50]]
        return {"problems": problems}
    except (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError) as error:
        return {"problem": Message("this is not a whole zip file ({why}): fetch the bundle again",
                                   why=str(error)[:200])}
    except MemoryError:
        return {"problem": Message("reading it needs more than {size} GB of memory", size=MEMORY >> 30)}
    except OSError as error:
        return {"problem": str(error.strerror), "errno": error.errno}


def read(archive: Path, staging: Path, *, pictures: bool) -> layout.Facts:
    """Unpack and look at everything. Returns what bundle.json says of the run and its base.

    Raises BadBundle, ConfigError, BadZipFile."""
    described, digests = extract(archive, staging)
    config = _config(staging)
    _edits(staging, config)
    count = _rows(staging, digests, pictures=pictures)
    _events(staging)
    _check_checkpoints(staging)
    for name in digests:
        limited.allow_processor(SECONDS)
        _look_at(staging, name, layout.kind_of(name) or "")
    return {"run": _about(described.run), "base": _base(described.base, digests), "count": count}


# ------------------------------------------------------------------------------------------------------------ the zip


def extract(archive: Path, staging: Path) -> tuple[UncheckedBundle, dict[str, str]]:
    """Every file of the zip under `staging`, after comparing it with bundle.json: that, and each file's SHA-256."""
    _check_end(archive)
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        if not members or members[0].filename != layout.NAME:
            raise BadBundle(Message("this zip is no bundle of a run: it does not begin with {name}", name=layout.NAME))
        described = _described(_text(opened, members[0], layout.NAME_BYTES))
        listed = described.files
        names = [member.filename for member in members[1:]]
        if len(set(names)) != len(names) or set(names) != set(listed):
            odd = sorted(set(names) ^ set(listed)) or ["a name that is there twice"]
            raise BadBundle(Message("the files of the bundle are not those that {list} lists: {name}", list=layout.NAME,
                                    name=repr(odd[0][:80])))
        size = sum(member.file_size for member in members)
        if size + (1 << 28) > storage.free_bytes(staging):
            raise BadBundle(Message("unpacking this needs {size:.1f} GB and the disk has less free: free some space",
                                    size=size / 1e9))
        digests = {}
        for member in members[1:]:
            digests[member.filename] = _extract_one(opened, member, listed[member.filename], staging)
    return described, digests


def _check_end(archive: Path) -> None:
    """Refuse by the end record, before the directory is read into memory."""
    count = zips.listed_files(archive)
    if count is None:
        raise BadBundle(Message("this is not a whole zip file (its directory is missing): fetch the bundle again"))
    if count > layout.MOST_FILES:
        raise BadBundle(Message("it lists {number:,} files; a bundle has at most {most:,}", number=count,
                                most=layout.MOST_FILES))


def _extract_one(opened: zipfile.ZipFile, member: zipfile.ZipInfo, listed: object, staging: Path) -> str:
    """The file's SHA-256; it lies durably below `staging` afterwards."""
    name = member.filename
    kind = layout.kind_of(name)
    if kind is None:
        raise BadBundle(Message("a bundle holds no file {name}: only settings, pictures, events and safetensors",
                                name=repr(name[:80])))
    if not isinstance(listed, dict) or member.file_size != listed.get("size"):
        raise BadBundle(Message("{name} has {size} bytes where {list} says another size", name=name,
                                size=member.file_size, list=layout.NAME))
    _check_size(name, kind, member.file_size)
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 0x1:
        raise BadBundle(Message("{name} is compressed or encrypted, which a bundle's files are not: fetch the bundle "
                                "again", name=name))
    limited.allow_processor(SECONDS + member.file_size // (50 << 20))
    target = staging / name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with opened.open(member) as reading, open(target, "xb") as writing:
        while block := reading.read(BLOCK):
            digest.update(block)
            writing.write(block)
        writing.flush()
        os.fsync(writing.fileno())
    if digest.hexdigest() != listed.get("sha256"):
        raise BadBundle(Message("{name} does not match its SHA-256: it was damaged or changed on its way", name=name))
    return digest.hexdigest()


def _check_size(name: str, kind: str, size: int) -> None:
    most = layout.BYTES.get(kind)
    if most is not None and size > most:
        raise BadBundle(Message("{name} has {size:.0f} MB; a bundle's may have at most {most:.0f} MB", name=name,
                                size=size / 1e6, most=most / 1e6))


def _text(opened: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    if member.file_size > most or member.compress_type != zipfile.ZIP_STORED:
        raise BadBundle(Message("{name} is too large, or compressed", name=member.filename))
    return opened.read(member)


def _described(data: bytes) -> UncheckedBundle:
    """bundle.json, parsed. Raises BadBundle."""
    described = _json(data, layout.NAME)
    if not isinstance(described, dict) or described.get("bundle") != layout.FORMAT:
        raise BadBundle(Message("{name} is not of a kind that this studio reads: update the studio, or pack it again",
                                name=layout.NAME))
    run, base, files = map(described.get, UncheckedBundle._fields)
    if not isinstance(run, dict) or not isinstance(base, dict) or not isinstance(files, dict):
        raise BadBundle(Message("{name} lacks run, base or files", name=layout.NAME))
    return UncheckedBundle(run, base, files)


def _json(data: bytes, name: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadBundle(Message("{name} is not JSON", name=name)) from None


def _about(run: JsonObject) -> layout.About:
    """What bundle.json says of the run, as short texts and numbers of the right kind."""
    attempt = run.get("attempt")
    if type(attempt) is not int or attempt >= 1 << 31:
        attempt = 1
    return {"id": _word(run.get("id")), "name": str(run.get("name", ""))[:200], "attempt": max(1, attempt),
            "parent": _parent(run.get("parent")), "dataset": _dataset(run.get("dataset"))}


def _word(value: object) -> str:
    """An id or a checkpoint's name, which becomes part of an address; else nothing."""
    text = str(value or "")
    if len(text) <= 64 and text.replace("-", "").isalnum() and text.isascii():
        return text
    return ""


def _parent(parent: object) -> layout.Parent:
    """The checkpoint that the run went on from, and what was changed then; {} where it began anew."""
    if not isinstance(parent, dict):
        return {}
    origin: layout.Parent = {"id": _word(parent.get("id")), "checkpoint": _word(parent.get("checkpoint"))}
    if not all(origin.values()):
        return {}
    changes = parent.get("changes")
    if isinstance(changes, list):
        origin["changes"] = [str(words)[:400] for words in changes[:200]]
    return origin


def _dataset(dataset: object) -> layout.DatasetName:
    if not isinstance(dataset, dict):
        dataset = {}
    return {"id": _word(dataset.get("id")), "name": str(dataset.get("name", ""))[:200],
            "fingerprint": _word(dataset.get("fingerprint"))}


def _base(base: JsonObject, digests: dict[str, str]) -> layout.BaseFiles:
    """What bundle.json says of the base's files, and what those are that came with it."""
    claimed: dict[str, str] = {}
    files = base.get("files")
    if isinstance(files, dict):
        for name, sha in files.items():
            claimed[str(name)[:300]] = str(sha)[:64]
    came = {name.removeprefix("base/"): sha for name, sha in digests.items() if name.startswith("base/")}
    return {"claimed": dict(islice(claimed.items(), MOST_CLAIMED)), "hashes": came}


# ---------------------------------------------------------------------------------------------- settings, rows, events


def _config(staging: Path) -> config_.Config:
    """The run's config, which is written anew: as this studio writes it."""
    path = staging / "config.json"
    if not path.is_file():
        raise BadBundle(Message("config.json is missing"))
    config = config_.load(_json(path.read_bytes(), "config.json"))
    if config.train.max_steps is None or config.train.batch_size is None or config.train.seed is None:
        raise BadBundle(Message("config.json is not resolved: it is not of a run"))
    return config


def _edits(staging: Path, config: config_.Config) -> None:
    path = staging / "edits.json"
    if not path.is_file():
        return
    listed = None
    content = _json(path.read_bytes(), "edits.json")
    if isinstance(content, dict):
        listed = content.get("edits")
    try:
        edits.edited(config, edits.sound(listed))
    except ValueError as error:
        raise BadBundle(Message("edits.json: {why}", why=str(error)[:400])) from None


def _rows(staging: Path, digests: dict[str, str], *, pictures: bool) -> int:
    """Look at every row and at the picture it names; returns how many there are."""
    path = staging / "dataset.jsonl"
    if not path.is_file():
        raise BadBundle(Message("dataset.jsonl is missing"))
    sizes: dict[str, tuple[int, int]] = {}  # of the pictures that were decoded, by name
    count = 0
    with open(path, "rb") as lines, open(path.with_name("rows.part"), "wb") as out:
        for count, line in enumerate(lines, 1):
            if count > layout.MOST_ROWS:
                raise BadBundle(Message("dataset.jsonl has more than {number:,} rows", number=layout.MOST_ROWS))
            row = row_of(line, count)
            out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            name = f"images/{row['image']}.{row['ext']}"
            if pictures and name not in sizes:
                sizes[name] = _picture(staging, name, digests)
            if pictures and sizes[name] != (row["width"], row["height"]):
                raise BadBundle(Message("{name} cannot be used: {why}", name=name,
                                        why=Message("its size is not that of its row")))
        out.flush()
        os.fsync(out.fileno())
    if not count:
        raise BadBundle(Message("dataset.jsonl has no pictures"))
    storage.rename(path.with_name("rows.part"), path)
    return count


def _picture(staging: Path, name: str, digests: dict[str, str]) -> tuple[int, int]:
    """Width and height of a picture that is whole and is the one that its name says; it must have come along, whatever
    the store has: a hash alone is no right to a picture."""
    if name not in digests:
        raise BadBundle(Message("{name} is missing, which dataset.jsonl names", name=name))
    if digests[name] != name.removeprefix("images/").partition(".")[0]:
        raise BadBundle(Message("{name} is not the picture that its name says", name=name))
    limited.allow_processor(SECONDS)
    try:
        return decoding.normalise(staging / name).image.size
    except decoding.UnusablePicture as problem:
        raise BadBundle(Message("{name} cannot be used: {why}", name=name, why=problem)) from None


def _events(staging: Path) -> None:
    """The events, cut down to what a reader of this studio holds in memory."""
    path = staging / "events.jsonl"
    if not path.is_file():
        return
    limited.allow_processor(SECONDS + path.stat().st_size // EVENT_BYTES_A_SECOND)
    with open(path, "rb") as lines, open(path.with_name("events.part"), "wb") as out:
        count = sum(b'"step"' in line for line in lines)
        lines.seek(0)
        out.writelines(foreign.clean_lines(_whole_lines(lines), count))
        out.flush()
        os.fsync(out.fileno())
    storage.rename(path.with_name("events.part"), path)


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; one that is longer than an event can be comes as its beginning alone."""
    while line := file.readline(foreign.LINE_BYTES + 1):
        yield line
        while line and not line.endswith(b"\n"):
            line = file.readline(foreign.LINE_BYTES + 1)


# ----------------------------------------------------------------------------------------------- checkpoints and base


def _look_at(staging: Path, name: str, kind: str) -> None:
    """Raise BadBundle for a file that is not what its name says. What was looked at already is passed over."""
    path = staging / name
    if kind == "weights":
        _check_weights(path, name)
    elif kind in ("state", "manifest", "base", "vocabulary"):
        if not isinstance(_json(path.read_bytes(), name), dict):
            raise BadBundle(Message("{name} is no JSON object", name=name))
    elif kind == "sample":
        with open(path, "rb") as file:
            head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP":
            raise BadBundle(Message("{name} is no WebP picture", name=name))


def _check_weights(path: Path, name: str) -> None:
    """Raise BadBundle for weights that are not sound, or none that a run of this studio saves."""
    types: set[str] = set()
    try:
        if name.startswith("checkpoints/") and name.count("/") == 3:  # a part that is taken away, in many forms
            tensors.check(path, layout.MOST_TENSORS_OF_A_PART)
            types.update(tensor.dtype for tensor in tensors.headers(path)[0].values())
        else:
            tensors.check(path, tensors.MOST_TENSORS)
    except tensors.NotSafetensors as error:
        raise BadBundle(f"{name}: {error}") from None
    unknown = types - tensors.WIDTH.keys()
    if unknown:
        raise BadBundle(Message("{name}: it holds numbers of a kind that is not trained here ({kind})", name=name,
                                kind=min(unknown)[:20]))


def _check_checkpoints(staging: Path) -> None:
    """Raise BadBundle unless every checkpoint has the files of its manifest, and no others."""
    folders = list((staging / "checkpoints").glob("*"))
    if len(folders) > 1:
        raise BadBundle(Message("it holds {number} checkpoints where a bundle has the newest alone",
                                number=len(folders)))
    for folder in folders:
        limited.allow_processor(SECONDS * 60)
        try:
            listed = set(storage.verify(folder)["files"])
        except storage.Corrupt as error:
            raise BadBundle(str(error)) from None
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if there != listed | {storage.MANIFEST}:
            raise BadBundle(Message("{folder} holds files that its manifest does not list", folder=folder.name))


def main() -> None:
    """Serve requests until stdin ends."""
    Image.MAX_IMAGE_PIXELS = None  # decoding decides by the header, and is stricter
    Image.init()
    limited.serve(answer, memory=MEMORY, seconds=SECONDS)


if __name__ == "__main__":
    main()
