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
from pathlib import Path
from typing import Any

from PIL import Image

from studio import config as config_
from studio import limited, storage, tensors
from studio.bundle import layout
from studio.bundle.layout import BadBundle
from studio.datasets.pictures import decoding
from studio.folders import edits, foreign
from studio.messages import Message

MEMORY = 2 << 30  # bytes of address space
SECONDS = 120  # of processor time for each file, or picture
BLOCK, EVENT_BYTES_A_SECOND = 1 << 20, 1 << 20
ROW = {"image": str, "ext": str, "width": int, "height": int, "captions": list, "split": str, "name": str}
MORE = ("crop", "repeats")
SPLITS = ("train", "validation", "test")
MOST_CAPTIONS, CAPTION, ROW_NAME = 1000, 40_000, 2000  # of a picture; characters of each; of its name


def answer(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What `studio.bundle.unpack` asks for; see above."""
    archive = Path(os.fsdecode(bytes.fromhex(request["archive"])))
    try:
        return {"facts": read(archive, folder, pictures=request["parts"] == "all")}
    except BadBundle as problem:
        return {"problem": str(problem)}
    except config_.ConfigError as error:
        return {"problems": [{"field": p.field[:200], "message": p.message[:2000]} for p in error.problems[:50]]}
    except (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError) as error:
        return {"problem": Message("this is not a whole zip file ({why}): fetch the bundle again",
                                   why=str(error)[:200])}
    except MemoryError:
        return {"problem": Message("reading it needs more than {size} GB of memory", size=MEMORY >> 30)}
    except OSError as error:
        return {"problem": str(error.strerror), "errno": error.errno}


def read(archive: Path, staging: Path, *, pictures: bool) -> dict[str, Any]:
    """Unpack and look at everything; returns what bundle.json says of the run and its base, with `base.hashes` (of the
    files that came with it, as they are) and `count` (rows). Raises BadBundle, ConfigError, BadZipFile."""
    described, digests = extract(archive, staging)
    config = _config(staging)
    _edits(staging, config)
    count = _rows(staging, digests, pictures=pictures)
    _events(staging)
    _check_checkpoints(staging)
    for name in digests:
        limited.allow_processor(SECONDS)
        _look_at(staging, name, layout.kind_of(name) or "")
    return {"run": _about(described["run"]), "base": _base(described["base"], digests), "count": count}


# ------------------------------------------------------------------------------------------------------------ the zip


def extract(archive: Path, staging: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Every file of the zip under `staging`, after comparing it with bundle.json: that, and each file's SHA-256."""
    _check_end(archive)
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        if not members or members[0].filename != layout.NAME:
            raise BadBundle(Message("this zip is no bundle of a run: it does not begin with {name}", name=layout.NAME))
        described = _described(_text(opened, members[0], layout.NAME_BYTES))
        listed: dict[str, Any] = described["files"]
        names = [member.filename for member in members[1:]]
        if len(set(names)) != len(names) or set(names) != set(listed):
            odd = sorted(set(names) ^ set(listed)) or ["a name that is there twice"]
            raise BadBundle(Message("the files of the bundle are not those that {list} lists: {name}", list=layout.NAME,
                                    name=repr(odd[0][:80])))
        size = sum(member.file_size for member in members)
        if size + (1 << 28) > storage.free_bytes(staging):
            raise BadBundle(Message("unpacking this needs {size:.1f} GB and the disk has less free: free some space",
                                    size=size / 1e9))
        digests = {member.filename: _extract_one(opened, member, listed[member.filename], staging)
                   for member in members[1:]}
    return described, digests


def _check_end(archive: Path) -> None:
    """Refuse by the end record, before the directory is read into memory."""
    size = archive.stat().st_size
    with open(archive, "rb") as file:
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        raise BadBundle(Message("this is not a whole zip file (its directory is missing): fetch the bundle again"))
    count, directory = struct.unpack("<HI", tail[at + 10 : at + 16])
    far = tail.rfind(b"PK\6\6", 0, at)
    if far >= 0 and far + 56 <= len(tail) and 0xFFFF in (count, directory & 0xFFFF):
        count, directory = struct.unpack("<QQ", tail[far + 32 : far + 48])
    if max(count, directory // 400) > layout.MOST_FILES:
        raise BadBundle(Message("it lists {number:,} files; a bundle has at most {most:,}", number=count,
                                most=layout.MOST_FILES))


def _extract_one(opened: zipfile.ZipFile, member: zipfile.ZipInfo, listed: Any, staging: Path) -> str:
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


def _described(data: bytes) -> dict[str, Any]:
    described = _json(data, layout.NAME)
    if not isinstance(described, dict) or described.get("bundle") != layout.FORMAT:
        raise BadBundle(Message("{name} is not of a kind that this studio reads: update the studio, or pack it again",
                                name=layout.NAME))
    if not all(isinstance(described.get(key), dict) for key in ("run", "base", "files")):
        raise BadBundle(Message("{name} lacks run, base or files", name=layout.NAME))
    return described


def _json(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BadBundle(Message("{name} is not JSON", name=name)) from None


def _about(run: dict[str, Any]) -> dict[str, Any]:
    """What bundle.json says of the run, as short texts and numbers of the right kind."""
    attempt, parent, dataset = run.get("attempt"), run.get("parent"), run.get("dataset")
    return {"id": _word(run.get("id")), "name": str(run.get("name", ""))[:200],
            "attempt": max(1, attempt) if type(attempt) is int and attempt < 1 << 31 else 1,
            "parent": _parent(parent if isinstance(parent, dict) else {}),
            "dataset": _dataset(dataset if isinstance(dataset, dict) else {})}


def _word(value: Any) -> str:
    """An id or a checkpoint's name, which becomes part of an address; else nothing."""
    text = str(value or "")
    return text if len(text) <= 64 and text.replace("-", "").isalnum() and text.isascii() else ""


def _parent(given: dict[str, Any]) -> dict[str, Any]:
    origin = {key: word for key in ("id", "checkpoint") if (word := _word(given.get(key)))}
    changes = given.get("changes")
    told = {"changes": [str(words)[:400] for words in changes[:200]]} if isinstance(changes, list) else {}
    return origin | told if len(origin) == 2 else {}


def _dataset(given: dict[str, Any]) -> dict[str, str]:
    return {"id": _word(given.get("id")), "name": str(given.get("name", ""))[:200],
            "fingerprint": _word(given.get("fingerprint"))}


def _base(described: dict[str, Any], digests: dict[str, str]) -> dict[str, Any]:
    """What bundle.json says of the base's files, and what those are that came with it."""
    files = described.get("files")
    claimed = {str(name)[:300]: str(sha)[:64] for name, sha in files.items()} if isinstance(files, dict) else {}
    came = {name.removeprefix("base/"): sha for name, sha in digests.items() if name.startswith("base/")}
    return {"claimed": dict(list(claimed.items())[:2000]), "hashes": came}


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
    found = _json(path.read_bytes(), "edits.json")
    try:
        edits.edited(config, edits.sound(found.get("edits") if isinstance(found, dict) else None))
    except ValueError as error:
        raise BadBundle(Message("edits.json: {why}", why=str(error)[:400])) from None


def _rows(staging: Path, digests: dict[str, str], *, pictures: bool) -> int:
    """Look at every row and at the picture it names; returns how many there are."""
    path = staging / "dataset.jsonl"
    if not path.is_file():
        raise BadBundle(Message("dataset.jsonl is missing"))
    known: dict[str, tuple[int, int]] = {}
    count = 0
    with open(path, "rb") as lines, open(path.with_name("rows.part"), "wb") as out:
        for count, line in enumerate(lines, 1):
            if count > layout.MOST_ROWS:
                raise BadBundle(Message("dataset.jsonl has more than {number:,} rows", number=layout.MOST_ROWS))
            row = _row(line, count)
            out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            name = f"images/{row['image']}.{row['ext']}"
            if pictures and name not in known:
                known[name] = _picture(staging, name, digests)
            if pictures and known[name] != (row["width"], row["height"]):
                raise BadBundle(Message("{name} cannot be used: {why}", name=name,
                                        why=Message("its size is not that of its row")))
        out.flush()
        os.fsync(out.fileno())
    if not count:
        raise BadBundle(Message("dataset.jsonl has no pictures"))
    storage.rename(path.with_name("rows.part"), path)
    return count


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise BadBundle(Message("dataset.jsonl: line {number} is not JSON", number=number)) from None
    if not _sound(row):
        raise BadBundle(Message("dataset.jsonl: line {number} is no row of a picture", number=number))
    return {key: value for key, value in row.items() if key in ROW or key in MORE}


def _sound(row: Any) -> bool:
    """Whether this is a row as docs/run-folder.md has it; its picture's name is then one that a bundle may hold."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), kind) for key, kind in ROW.items()):
        return False
    if not layout.PATTERNS["image"].fullmatch(f"images/{row['image']}.{row['ext']}"):
        return False
    crop, repeats, captions = row.get("crop"), row.get("repeats", 1), row["captions"]
    numbers = [row["width"], row["height"], repeats, *(crop if isinstance(crop, list) else [])]
    return (0 < len(captions) <= MOST_CAPTIONS and len(row["name"]) <= ROW_NAME and row["split"] in SPLITS
            and all(isinstance(caption, str) and len(caption) <= CAPTION for caption in captions)
            and all(text.isascii() or _is_unicode(text) for text in (row["name"], *captions))
            and all(type(number) is int and 0 <= number < 1 << 31 for number in numbers)
            and min(row["width"], row["height"], repeats) > 0
            and (crop is None or isinstance(crop, list) and len(crop) == 3 and crop[2] > 0))


def _is_unicode(text: str) -> bool:
    """Whether a text can be written: JSON can bear halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    except decoding.Unusable as problem:
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


def _whole_lines(file: Any) -> Iterator[bytes]:
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
    listed = name.startswith("checkpoints/") and name.count("/") == 3  # a part that is taken away, in many forms
    try:
        tensors.check(path, layout.MOST_TENSORS_OF_A_PART if listed else tensors.MOST_TENSORS)
        types = {tensor.dtype for tensor in tensors.headers(path)[0].values()} if listed else set()
    except tensors.NotSafetensors as error:
        raise BadBundle(f"{name}: {error}") from None
    if types - tensors.WIDTH.keys():
        raise BadBundle(Message("{name}: it holds numbers of a kind that is not trained here ({kind})", name=name,
                                kind=min(types)[:20]))


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
