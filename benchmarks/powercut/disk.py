"""A file system in memory: what the calls of a program do to it, as single changes that a crash may keep or lose."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .trace import Call

ROOT = 0
ACKNOWLEDGED = re.compile(rb'"kind":"(resumed|sample|checkpoint|retired|control|result|end)"')  # what people rely on
_OCTAL_FLAGS = re.compile(r"O_\w+")


@dataclass(frozen=True)
class Change:
    """One change. `call` counts calls: the changes of one call happen at once where the disk promises it.

    `make`: `inode` is a folder. `name`: `inode` (None: nobody) has `name` in `folder`. `write`: `data` at `offset`.
    `cut`: the file ends at `offset`. `flush`: of `inode` (None: of everything). `mark`: `name` was said to whoever
    waits.
    """

    kind: str
    call: int
    inode: int | None = None
    folder: int = -1
    name: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass
class Tree:
    """Folders {name: inode} and files (bytes) by inode number."""

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    files: dict[int, bytearray] = field(default_factory=dict)

    def apply(self, change: Change) -> None:
        """Let the change be kept."""
        if change.kind == "name":
            names = self.folders.setdefault(change.folder, {})
            if change.inode is None:
                names.pop(change.name, None)
            else:
                names[change.name] = change.inode
        elif change.kind == "make":
            self.folders.setdefault(change.inode or ROOT, {})
        elif change.kind == "write":
            data = self.files.setdefault(change.inode or -1, bytearray())
            data.extend(bytes(max(0, change.offset - len(data))))
            data[change.offset : change.offset + len(change.data)] = change.data
        elif change.kind == "cut":
            data = self.files.setdefault(change.inode or -1, bytearray())
            del data[change.offset :]
            data.extend(bytes(change.offset - len(data)))

    def copy(self) -> Tree:
        """Another of the same."""
        return Tree({inode: dict(names) for inode, names in self.folders.items()},
                    {inode: bytearray(data) for inode, data in self.files.items()})

    def contents(self, inode: int = ROOT, above: str = "") -> Iterator[tuple[str, bytes | None]]:
        """Every path below the root with its bytes (None: a folder)."""
        for name, child in sorted(self.folders.get(inode, {}).items()):
            path = f"{above}{name}"
            if child in self.folders:
                yield path, None
                yield from self.contents(child, f"{path}/")
            else:
                yield path, bytes(self.files.get(child, b""))

    def write_to(self, place: Path) -> None:
        """The tree as real files below `place`, which is made."""
        place.mkdir(parents=True)
        for path, data in self.contents():
            if data is None:
                (place / path).mkdir()
            else:
                (place / path).write_bytes(data)


class Recording:
    """The changes that calls made to the folder `root`, which was as `before` is at first. Lines written to the file
    `marks` are what the program acknowledged."""

    def __init__(self, root: Path, marks: Path, calls: Iterable[Call], before: Path):
        self.root, self.marks = str(root), str(marks)
        self.before, self._number = Tree(), ROOT
        self._read(before, ROOT)
        self.live, self.changes = self.before.copy(), list[Change]()
        self._at: dict[tuple[str, int], int] = {}  # where a descriptor of a file writes next; absent: at its end
        self._told: set[int] = set()  # files of events with something acknowledged that is not flushed yet
        self._calls = calls

    def run(self) -> Recording:
        """Take in every call."""
        for number, call in enumerate(self._calls):
            handler = getattr(self, f"_{call.name}", None)
            if handler is not None:
                handler(number, call)
        return self

    # ------------------------------------------------------------------------------------------------- the tree

    def _read(self, folder: Path, inode: int) -> None:
        for path in sorted(folder.iterdir()):
            self._number += 1
            child = self._number
            self.before.folders[inode][path.name] = child
            if path.is_dir():
                self.before.folders[child] = {}
                self._read(path, child)
            else:
                self.before.files[child] = bytearray(path.read_bytes())

    def _find(self, path: str) -> int | None:
        """The inode of an absolute path; None where it is not here, or outside."""
        inside = self._inside(path)
        inode: int | None = ROOT if inside is not None else None
        for name in inside or ():
            inode = self.live.folders.get(inode, {}).get(name) if inode is not None else None
        return inode

    def _inside(self, path: str) -> list[str] | None:
        if path != self.root and not path.startswith(f"{self.root}/"):
            return None
        return [part for part in path[len(self.root) :].split("/") if part not in ("", ".")]

    def _place(self, path: str) -> tuple[int, str] | None:
        """The folder of a path, and its name there."""
        folder = self._find(os.path.dirname(path))
        return (folder, os.path.basename(path)) if folder is not None else None

    def _do(self, change: Change) -> None:
        self.changes.append(change)
        self.live.apply(change)

    def _new(self, number: int, path: str, *, folder: bool) -> None:
        place = self._place(path)
        if place is not None:
            self._number += 1
            if folder:
                self._do(Change("make", number, self._number))
            else:
                self.live.files[self._number] = bytearray()
            self._do(Change("name", number, self._number, *place))

    # ------------------------------------------------------------------------------------------------- the calls

    @staticmethod
    def _path(call: Call, which: int = 0) -> str:
        """The path that the `which`th string of a call names, from the folder before it where there is one."""
        path = call.strings[which].decode("utf-8", "surrogateescape")
        if path.startswith("/"):
            return os.path.normpath(path)
        above = call.files[min(which, len(call.files) - 1)][1] if call.files else ""
        return os.path.normpath(os.path.join(above, path))

    def _open(self, number: int, call: Call) -> None:
        path, flags = call.opened or self._path(call), set(_OCTAL_FLAGS.findall(call.words))
        if self._inside(path) is None or "O_TMPFILE" in flags:
            return
        if self._find(path) is None and "O_CREAT" in flags:
            self._new(number, path, folder=False)
        inode = self._find(path)
        if inode is None or inode in self.live.folders:
            return
        if "O_TRUNC" in flags and self.live.files[inode]:
            self._do(Change("cut", number, inode))
        self._at.pop((str(call.result), inode), None)
        if "O_APPEND" not in flags:
            self._at[str(call.result), inode] = 0

    _openat = _creat = _open

    def _write(self, number: int, call: Call, offset: int | None = None) -> None:
        descriptor, path = call.files[0]
        data = b"".join(call.strings)[: call.result]
        if path == self.marks:
            self.changes.append(Change("mark", number, name=data.decode().strip()))
            return
        self._write_at(number, descriptor, path, data, offset)

    _writev = _write

    def _write_at(self, number: int, descriptor: str, path: str, data: bytes, offset: int | None) -> None:
        inode = self._find(path)
        if inode is None or inode not in self.live.files or not data:
            return
        key = (descriptor, inode)
        at = offset if offset is not None else self._at.get(key, len(self.live.files[inode]))
        self._do(Change("write", number, inode, offset=at, data=data))
        if offset is None and key in self._at:
            self._at[key] = at + len(data)
        if path.endswith("/events.jsonl") and ACKNOWLEDGED.search(data):
            self._told.add(inode)

    def _pwrite64(self, number: int, call: Call) -> None:
        self._write(number, call, int(call.words.rpartition(",")[2]))

    def _sendfile(self, number: int, call: Call) -> None:
        (target, path), (_, source) = call.files[:2]
        numbers = re.findall(r"\d+", call.words)
        self._write_at(number, target, path, self._bytes(source, int(numbers[0]) if len(numbers) > 1 else 0,
                                                         call.result), None)

    def _copy_file_range(self, number: int, call: Call) -> None:
        (_, source), (target, path) = call.files[:2]
        done = len(self.live.files.get(self._find(path) or -1, b""))  # copied from the beginning, block after block
        self._write_at(number, target, path, self._bytes(source, done, call.result), None)

    def _bytes(self, path: str, start: int, count: int) -> bytes:
        inode = self._find(path)
        data = bytes(self.live.files[inode]) if inode is not None else Path(path).read_bytes()
        return data[start : start + count]

    def _lseek(self, number: int, call: Call) -> None:
        descriptor, path = call.files[0]
        key = (descriptor, self._find(path) or -1)
        if key in self._at:
            self._at[key] = call.result

    def _ftruncate(self, number: int, call: Call) -> None:
        inode, size = self._find(call.files[0][1]), int(call.words.rpartition(",")[2])
        if inode in self.live.files and len(self.live.files[inode]) != size:
            self._do(Change("cut", number, inode, offset=size))

    def _rename(self, number: int, call: Call) -> None:
        source, target = self._path(call), self._path(call, 1)
        inode, old, new = self._find(source), self._place(source), self._place(target)
        if inode is None or old is None or new is None:
            assert inode is None, f"{source} left the folder that is watched"
            return
        self._do(Change("name", number, None, *old))
        self._do(Change("name", number, inode, *new))

    _renameat = _renameat2 = _rename

    def _link(self, number: int, call: Call) -> None:
        inode, place = self._find(self._path(call)), self._place(self._path(call, 1))
        if inode is not None and place is not None:
            self._do(Change("name", number, inode, *place))

    _linkat = _link

    def _unlink(self, number: int, call: Call) -> None:
        place = self._place(self._path(call))
        if place is not None:
            self._do(Change("name", number, None, *place))

    _unlinkat = _rmdir = _unlink

    def _mkdir(self, number: int, call: Call) -> None:
        self._new(number, self._path(call), folder=True)

    _mkdirat = _mkdir

    def _fsync(self, number: int, call: Call) -> None:
        inode = self._find(call.files[0][1])
        if inode is not None:
            self.changes.append(Change("flush", number, inode))
            if inode in self._told:
                self._told.remove(inode)
                self.changes.append(Change("mark", number, name="an event"))

    _fdatasync = _fsync

    def _sync(self, number: int, call: Call) -> None:
        self.changes.append(Change("flush", number, None))

    _syncfs = _sync
