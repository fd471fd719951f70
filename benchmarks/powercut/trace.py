"""The system calls of a program that name, write and flush files below a folder, as strace saw them, in order."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

CALLS = ("open,openat,creat,close,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,rename,renameat,"
         "renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,sync,syncfs,"
         "sendfile,copy_file_range,lseek,dup,dup2,dup3")
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)", re.DOTALL)
_UNFINISHED = re.compile(r"(\d+) +(.*) <unfinished \.\.\.>", re.DOTALL)
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FD = re.compile(r"(-?\d+|AT_FDCWD)<((?:[^<>\\]|\\.)*)>(?:\(deleted\))?")
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-f]{2})|(.))", re.DOTALL)
_NAMED = {"n": 10, "t": 9, "r": 13, "v": 11, "f": 12, "a": 7, "b": 8, "e": 27}


@dataclass(frozen=True)
class Call:
    """One call that went well. `words` are its arguments as strace writes them, each string and file replaced by `$`;
    `strings` and `files` ((descriptor, path)) are those, in order."""

    name: str
    words: str
    strings: tuple[bytes, ...]
    files: tuple[tuple[str, str], ...]
    result: int
    opened: str  # the path of the descriptor that it returned


class Recorder:
    """strace attached to a running program, until the block is left or the program has ended."""

    def __init__(self, pid: int, log: Path):
        self.pid, self.log = pid, log

    def __enter__(self) -> Recorder:
        argv = ["strace", "-f", "-y", "-s", "1000000000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o",
                str(self.log), "-p", str(self.pid)]
        self._strace = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        line = self._strace.stderr.readline()
        if "attached" not in line:
            raise SystemExit(f"strace cannot watch the program: {line.strip()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
                 ) -> None:
        if self._strace.poll() is None:
            self._strace.terminate()
        self._strace.communicate()


def calls(log: Path) -> Iterator[Call]:
    """The calls in a log, in the order in which they were done; those that failed are left out."""
    begun: dict[str, str] = {}
    for line in log.read_text(encoding="utf-8", errors="surrogateescape").split("\n"):
        if cut := _UNFINISHED.fullmatch(line):
            begun[cut[1]] = cut[2]
            continue
        if rest := _RESUMED.fullmatch(line):
            line = f"{rest[1]} {begun.pop(rest[1], rest[2] + '(')}{rest[3]}"
        if (call := _parse(line)) is not None:
            yield call


def _parse(line: str) -> Call | None:
    strings: list[bytes] = []

    def keep(found: re.Match[str]) -> str:
        strings.append(unescape(found[1]))
        return "$"

    said = _LINE.fullmatch(_STRING.sub(keep, line))
    if said is None or said[4].startswith(("-", "?")):
        return None
    files = tuple((number, unescape(path).decode("utf-8", "surrogateescape")) for number, path in _FD.findall(said[3]))
    opened = _FD.match(said[4] + said[5])
    return Call(said[2], _FD.sub("$", said[3]), tuple(strings), files, int(said[4]),
                unescape(opened[2]).decode("utf-8", "surrogateescape") if opened else "")


def unescape(text: str) -> bytes:
    """The bytes that a string of strace's stands for."""
    out, at = bytearray(), 0
    for found in _ESCAPE.finditer(text):
        out += text[at : found.start()].encode("utf-8", "surrogateescape")
        octal, hexadecimal, letter = found.groups()
        if octal is not None:
            out.append(int(octal, 8))
        elif hexadecimal is not None:
            out.append(int(hexadecimal, 16))
        elif letter in _NAMED:
            out.append(_NAMED[letter])
        else:
            out += letter.encode()
        at = found.end()
    return bytes(out + text[at:].encode("utf-8", "surrogateescape"))


def wanting() -> str | None:
    """Why nothing can be recorded here; None where it can."""
    if sys.platform != "linux":
        return "strace is Linux's"
    try:
        subprocess.run(["strace", "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"strace cannot be run: {error}"
    return None
