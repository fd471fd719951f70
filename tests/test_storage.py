"""Durable writing: killed at any line, out of space or damaged, a reader sees the old state or the new one."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from studio import storage

ROOT = Path(__file__).resolve().parent.parent

# Runs `work` in a fork and kills it with SIGKILL just before its N-th line inside studio/storage, for every N there is.
CRASHES = """
import json, os, signal, sys
from pathlib import Path
from studio import storage

def run(work, place, n):
    seen = 0
    def trace(frame, event, arg):
        nonlocal seen
        if os.path.dirname(frame.f_code.co_filename) != os.path.dirname(storage.__file__):
            return None
        if event == "line":
            seen += 1
            if seen == n:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    work(place)
    sys.settrace(None)

def points(work, prepare, root):
    n = 0
    while True:
        n += 1
        place = root / str(n)
        place.mkdir()
        prepare(place)
        child = os.fork()
        if child == 0:
            run(work, place, n)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return n

def checkpoint(place):
    with storage.staged(place / "final", {"step": 2}) as staging:
        (staging / "unet").mkdir()
        (staging / "unet" / "weights").write_bytes(b"w" * 5000)
        (staging / "state").write_bytes(b"s" * 100)

def replace(place):
    storage.write_json(place / "file.json", {"new": list(range(1000))})

def old_file(place):
    (place / "file.json").write_text('{"old": 1}')

work, prepare = {"checkpoint": (checkpoint, lambda place: None), "replace": (replace, old_file)}[sys.argv[1]]
print(points(work, prepare, Path(sys.argv[2])))
"""


def crash_everywhere(what: str, root: Path) -> list[Path]:
    """One folder per line at which `what` was killed, in the order of the lines; the last one was not killed."""
    done = subprocess.run([sys.executable, "-c", CRASHES, what, str(root)], cwd=ROOT, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    return [root / str(n) for n in range(1, int(done.stdout) + 1)]


def test_a_staged_folder_killed_at_any_line_is_complete_or_absent(tmp_path: Path) -> None:
    places = crash_everywhere("checkpoint", tmp_path)
    there = [place for place in places if (place / "final").exists()]
    for place in there:
        assert storage.verify(place / "final")["step"] == 2
        assert (place / "final" / "unet" / "weights").read_bytes() == b"w" * 5000
    assert len(places) > 50 and 0 < len(there) < len(places) / 4
    assert any(list(place.glob(f"{storage.STAGING}*")) for place in places)
    for place in places:
        storage.sweep_staging(place)
        assert {p.name for p in place.iterdir()} <= {"final"}


def test_a_file_killed_at_any_line_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    places = crash_everywhere("replace", tmp_path)
    kinds = [list(json.loads((place / "file.json").read_text())) for place in places]
    assert kinds[0] == ["old"] and kinds[-1] == ["new"]
    assert kinds == sorted(kinds, reverse=True), "once new, always new"


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def watched_fsync(handle: int) -> None:
        told.append(("fsync", os.path.basename(os.readlink(f"/proc/self/fd/{handle}")).split(".json")[0].lstrip(".")))
        fsync(handle)

    def watched_rename(source: Path, target: Path) -> None:
        told.append(("rename", target.name))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "rename", watched_rename)
    with storage.staged(tmp_path / "final", {}) as staging:
        (staging / "weights").write_bytes(b"w")
        (staging / "sub").mkdir()
        (staging / "sub" / "deep").write_bytes(b"d")
    renamed = told.index(("rename", "final"))
    before = [name for _, name in told[:renamed]]
    assert {"weights", "deep", "sub", "manifest"} <= set(before)
    assert before.index("weights") < before.index("manifest") > before.index("deep")
    assert told[renamed + 1] == ("fsync", tmp_path.name)


def test_the_flushes_of_many_files_wait_together_and_one_that_fails_is_told(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(tmp_path / f"{number}.part", tmp_path / "store" / f"{number}.png") for number in range(64)]
    for part, path in pairs:
        part.write_bytes(path.name.encode())
    real, meet, failing = os.fsync, threading.Barrier(2, timeout=30), {str(pairs[40][0])}

    def fsync(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if path in failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if path.endswith(".part") and not failing:
            meet.wait()  # raises where nobody else is in a flush
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output error"):
        storage.publish_files(pairs)
    assert not (tmp_path / "store").exists(), "something has its name, and not all of it is on the disk"
    failing.clear()
    storage.publish_files(pairs)
    assert all(path.read_bytes() == path.name.encode() for _, path in pairs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder of two files."""
    with storage.staged(tmp_path / "kept", lambda: {"step": 7}) as staging:
        (staging / "a").write_bytes(b"a" * 4096)
        (staging / "sub").mkdir()
        (staging / "sub" / "b").write_bytes(b"b" * 10)
    return tmp_path / "kept"


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "a").read_bytes())
    data[2000] ^= 1
    (folder / "a").write_bytes(data)


@pytest.mark.parametrize("damage, word", [
    (flip_a_bit, "kept/a does not match"),
    (lambda f: os.truncate(f / "a", 4095), "kept/a has 4095 bytes instead of 4096"),
    (lambda f: (f / "sub" / "b").unlink(), "kept/sub/b is missing"),
    (lambda f: (f / storage.MANIFEST).unlink(), "never finished"),
    (lambda f: os.truncate(f / storage.MANIFEST, 20), "not readable JSON"),
    (lambda f: (f / storage.MANIFEST).write_text('{"files": {"a": {"size": 1}}}'), "never finished"),
    (lambda f: (f / storage.MANIFEST).write_text("[" * 100_000), "not readable JSON"),
])
def test_damage_is_found_and_named(folder: Path, damage: Callable[[Path], object], word: str) -> None:
    assert storage.verify(folder)["files"]["sub/b"]["size"] == 10
    damage(folder)
    with pytest.raises(storage.Corrupt, match=word):
        storage.verify(folder)


def test_a_name_that_is_taken_is_never_written_over(folder: Path) -> None:
    with pytest.raises(FileExistsError, match="kept"), storage.staged(folder, {}):
        pytest.fail("must not begin")
    assert storage.verify(folder)["step"] == 7


@pytest.mark.parametrize("error", [OSError("disk"), RuntimeError("safetensors"), KeyboardInterrupt()])
def test_an_error_while_writing_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), storage.staged(tmp_path / "final", {}) as staging:
        (staging / "half").write_bytes(b"h")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError):
        storage.write_json(tmp_path / "x.json", {"a": float("nan")})
    assert storage.read_json(tmp_path / "x.json") == {"a": 1} and len(list(tmp_path.iterdir())) == 1


FULL = """
mount -t tmpfs -o size=200k none "$1" || exit 42
exec "$2" - "$1" <<'PROGRAM'
import sys
from pathlib import Path
from studio import storage
disk = Path(sys.argv[1])
storage.write_json(disk / "file.json", {"old": 1})
try:
    with storage.staged(disk / "final", {}) as staging:
        (staging / "weights").write_bytes(bytes(300_000))
except OSError as error:
    print(error.strerror)
try:
    storage.write_json(disk / "file.json", {"new": "x" * 300_000})
except OSError as error:
    print(error.strerror)
print(sorted(p.name for p in disk.iterdir()), storage.read_json(disk / "file.json"))
PROGRAM
"""


def test_a_full_disk_leaves_the_old_state(tmp_path: Path) -> None:
    done = subprocess.run(["unshare", "-rm", "bash", "-c", FULL, "bash", str(tmp_path), sys.executable],
                          cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode == 42 or "unshare" in done.stderr:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    assert done.stdout.splitlines() == ["No space left on device"] * 2 + ["['file.json'] {'old': 1}"], done.stderr


HOLDER = """
import sys, time
from pathlib import Path
from studio import storage
lock = storage.Lock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock `lock`, gives it back at a line on its stdin, and ends at the next."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "lock")], cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_holds_across_processes_until_it_is_given_back(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    lock = storage.Lock(tmp_path / "lock")
    assert storage.is_locked(tmp_path / "lock") and not lock.acquire()
    assert holder.stdin and holder.stdout
    print(file=holder.stdin, flush=True)
    assert holder.stdout.readline() == "released\n"
    assert not storage.is_locked(tmp_path / "lock")
    assert lock.acquire() and storage.is_locked(tmp_path / "lock")
    lock.release()


def test_a_lock_ends_with_its_killed_holder(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not storage.is_locked(tmp_path / "lock")
    assert storage.Lock(tmp_path / "lock").acquire()


def test_a_lock_nobody_ever_took_is_free(tmp_path: Path) -> None:
    assert not storage.is_locked(tmp_path / "lock") and not (tmp_path / "lock").exists()


def test_the_trash_keeps_seven_days(tmp_path: Path) -> None:
    trash = tmp_path / "trash"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "file").write_text("x")
    first = storage.to_trash(tmp_path / "run", trash)
    (tmp_path / "run").write_text("a file of the same name")
    second = storage.to_trash(tmp_path / "run", trash)
    assert not (tmp_path / "run").exists() and (first / "file").read_text() == "x" and second.is_file()
    day = 86400
    assert storage.empty_trash(trash, time.time() + 6.9 * day) == 0
    assert storage.empty_trash(trash, time.time() + 7.1 * day) == 2 and list(trash.iterdir()) == []


def test_free_space_is_asked_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    near = shutil.disk_usage(tmp_path).free
    assert abs(storage.free_bytes(tmp_path / "not" / "there" / "yet") - near) < 2**30


def test_a_torn_line_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert list(storage.read_lines(path)) == []
    storage.append_lines(path, [{"n": 1}, {"n": 2}])
    path.write_bytes(path.read_bytes() + b'{"n": 3, "wo')  # as a kill leaves it
    assert list(storage.read_lines(path)) == [{"n": 1}, {"n": 2}]
    storage.append_lines(path, [{"n": "鳥"}])
    assert list(storage.read_lines(path)) == [{"n": 1}, {"n": 2}, {"n": "鳥"}]
    assert path.read_bytes().endswith(b"\n")
    with pytest.raises(FileNotFoundError):  # what was deleted meanwhile does not come back
        storage.append_lines(tmp_path / "gone" / "log.jsonl", [{"n": 1}])


def test_the_home_lies_beside_the_program_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDIO_HOME", raising=False)
    assert storage.home() == Path(__file__).resolve().parents[1] / "workspace"
