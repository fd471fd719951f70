"""Limited processes are confined: a reader that was taken over gets nothing but its own folder."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio import datasets, limited
from studio.datasets.imports.hubsource import Rows
from studio.datasets.pictures import workers
from studio.limited import confine

THIEF = Path(__file__).with_name("thief.py")
pytestmark = pytest.mark.skipif(bool(confine.missing()), reason=f"this system lacks {confine.missing()}")


@pytest.fixture
def neighbourhood(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A home with another person's picture and a secret, listening sockets, and the thief in every limited process."""
    picture = home / "images" / "ab" / f"{'ab' * 32}.webp"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"another person's picture")
    (home / "cache").mkdir()
    (home / "cache" / "session.key").write_text("secret")
    private = tmp_path / "private.txt"
    private.write_text("secret")
    plant = tmp_path / "plant"
    plant.mkdir()
    shutil.copy(THIEF, plant / "sitecustomize.py")
    monkeypatch.setenv("PYTHONPATH", str(plant))
    monkeypatch.setenv("STUDIO_WEBHOOK_URL", "https://example.org/secret")
    monkeypatch.setenv("MY_SECRET_WORD", "secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    with socket.socket(socket.AF_UNIX) as unix, socket.socket(socket.AF_UNIX) as abstract, socket.socket() as tcp:
        unix.bind(str(tmp_path / "unix.sock"))
        name = f"studio-test-{secrets.token_hex(8)}"  # other machines' processes may share these names
        abstract.bind(f"\0{name}")
        tcp.bind(("127.0.0.1", 0))
        for line in (unix, abstract, tcp):
            line.listen()
            threading.Thread(target=_answer, args=(line,), daemon=True).start()
        targets = {
            "files": ["/etc/passwd", "/etc/hostname", str(picture), str(home / "cache" / "session.key"), str(private),
                      str(Path(__file__).resolve().parents[2] / "app.py"), f"/proc/{os.getpid()}/cmdline"],
            "folders": [str(home), str(home / "images" / "ab"), str(home / "cache"), "/", "/root", "/tmp", "/proc"],
            "unix": str(tmp_path / "unix.sock"), "abstract": name,
            "port": tcp.getsockname()[1], "pid": os.getpid(), "spawn": True, "loot": ""}
        (plant / "targets.json").write_text(json.dumps(targets))
        yield {**targets, "plant": plant, "picture": picture}
        for line in (unix, abstract, tcp):
            line.shutdown(socket.SHUT_RDWR)


def _answer(line: socket.socket) -> None:
    while True:
        try:
            line.accept()[0].sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        except OSError:
            return


def loot(folder: Path) -> dict[str, Any]:
    """What the thief carried off: everything that was not refused."""
    brought = json.loads((folder / "loot.json").read_text())
    assert brought.pop("secrets") == "[]"
    return {name: value for name, value in brought.items() if value is not None}


def test_the_thief_would_get_it_elsewhere(neighbourhood: dict[str, Any], tmp_path: Path) -> None:
    """Outside a limited process the same code takes all of it, so that the tests below can fail."""
    code = "import sys, types; sys.modules['studio.limited.process'] = types; import json; json.loads('1')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    brought = {k for k, v in json.loads((tmp_path / "loot.json").read_text()).items() if v is not None}
    assert {"unix", "abstract", "tcp", "http", "signal", "environment", "program", "secrets", "read /etc/passwd",
            f"read {neighbourhood['picture']}"} <= brought


def test_a_decoder_sees_its_folder_alone(neighbourhood: dict[str, Any], tmp_path: Path) -> None:
    own, brought = tmp_path / "own", tmp_path / "brought"
    own.mkdir()
    brought.mkdir()
    Image.new("RGB", (80, 80), "red").save(brought / "a.png")
    worker = workers.Worker(own, [brought])
    try:
        assert worker.normalise(brought / "a.png")["width"] == 80
        assert "Permission denied" in worker.normalise(neighbourhood["picture"])["problem"]
    finally:
        worker.close()
    assert loot(own) == {}


def test_the_reader_of_bundles_sees_its_folder_alone(neighbourhood: dict[str, Any], tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / "bundle.zip").write_bytes(b"no zip")
    request = {"archive": os.fsencode(tmp_path / "bundle.zip").hex(), "parts": "all"}
    answer = limited.ask_once("studio.bundle.reading", request, own, [tmp_path / "bundle.zip"])
    assert "whole zip" in answer["problem"]
    assert loot(own) == {}


def test_the_reader_of_tables_sees_its_folder_alone(neighbourhood: dict[str, Any], tmp_path: Path) -> None:
    import datasets as library

    library.Dataset.from_dict({"file_name": ["a.png"], "text": ["words"]}).to_parquet(tmp_path / "t.parquet")
    plant_elsewhere(neighbourhood, tmp_path)
    path = tmp_path / "t.parquet"
    with Rows(tmp_path, {"parquet": os.fsencode(path).hex()}, read=[path]) as table:
        assert [row["line"]["text"] for row in table] == ["words"]
        assert loot(table.folder) == {}


def test_an_import_sees_what_was_brought_alone(neighbourhood: dict[str, Any], tmp_path: Path, home: Path) -> None:
    """It has to start its decoders, so it may start programs; they are as confined as it is."""
    plant_elsewhere(neighbourhood, tmp_path, spawn=False)
    brought = tmp_path / "brought"
    brought.mkdir()
    Image.new("RGB", (80, 80), "red").save(brought / "a.png")
    (brought / "a.json").write_text('{"caption": "red"}')
    dataset = datasets.begin(home, "mine", "ann")
    report = datasets.add(dataset, [(p.name, p) for p in sorted(brought.iterdir())])
    assert report["used"] == 2 and dataset.rows()[0]["captions"] == ["red"], report
    assert loot(dataset.path) == {}
    assert neighbourhood["picture"].read_bytes() == b"another person's picture"


def plant_elsewhere(neighbourhood: dict[str, Any], tmp_path: Path, **changes: Any) -> None:
    """The same targets with `changes`."""
    targets = {key: value for key, value in neighbourhood.items() if key not in ("plant", "picture")} | changes
    (neighbourhood["plant"] / "targets.json").write_text(json.dumps(targets))


def test_the_hub_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the network a process reaches the Hub's port alone, by streams and datagrams of the internet."""
    with socket.create_server(("127.0.0.1", 0)) as hub, socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")
        code = f"""
import socket
from studio.limited import confine
confine.confine(ports=confine.hub_ports())
def refused(deed):
    try:
        deed()
    except PermissionError:
        return True
def line(port):
    socket.create_connection(("127.0.0.1", port), 5).close()
line({hub.getsockname()[1]})
assert refused(lambda: line({other.getsockname()[1]})), "another port"
assert refused(lambda: socket.create_server(("127.0.0.1", 0))), "a port of its own"
assert refused(lambda: socket.socket(socket.AF_UNIX)) and refused(lambda: socket.socket(socket.AF_NETLINK))
assert refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)), "raw packets"
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                              cwd=Path(__file__).resolve().parents[2])
        assert done.returncode == 0, done.stderr


def test_an_answer_that_never_ends_costs_its_time(tmp_path: Path) -> None:
    """A process that was taken over can neither keep its asker waiting nor fill its memory."""
    slow = limited.LimitedProcess("studio.datasets.pictures.decoding", tmp_path, seconds=0.2)
    with slow, pytest.raises(limited.NoAnswer, match="longer than"):
        process = slow.started()
        os.kill(process.pid, 19)  # SIGSTOP
        slow.ask({"path": os.fsencode(tmp_path).hex()})


DEEDS = """
import ctypes, fcntl, os, resource, socket, sys
from pathlib import Path
from studio.limited import confine
neighbour, other, own, port = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def pipe(command, value):
    return lambda: fcntl.fcntl(os.pipe()[0], command, value)
deeds = {
    "rights": lambda: os.chmod(other, 0o644), "owner": lambda: os.chown(other, 0, 0),
    "times": lambda: os.utime(other, (1, 1)), "attributes": lambda: os.setxattr(other, "user.x", b"x"),
    "link": lambda: os.symlink(other, own / "link"), "pipe": lambda: os.mkfifo(own / "pipe"),
    "socket file": lambda: os.mknod(own / "socket", 0o140600), "hard link": lambda: os.link(other, own / "hard"),
    "limits": lambda: resource.prlimit(neighbour, resource.RLIMIT_CPU, (10**6, 10**6)),
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, neighbour, 15),
    "cores": lambda: os.sched_setaffinity(neighbour, {0}),
    "scheduler": lambda: os.sched_setscheduler(neighbour, os.SCHED_IDLE, os.sched_param(0)),
    "signals by a pipe": pipe(fcntl.F_SETOWN, neighbour), "which signal": pipe(10, 9),
    "copies of itself": lambda: os.fork() or os._exit(0), "memory beside": lambda: os.memfd_create("x"),
}
if os.uname().machine == "x86_64":
    deeds |= {"a thread's signal": lambda: call(234, neighbour, neighbour, 0), "watching": lambda: call(294, 0),
              "shared memory": lambda: call(29, 0, 4096, 0o1600), "messages": lambda: call(68, 0, 0o1600),
              "semaphores": lambda: call(64, 0, 1, 0o1600), "a world of its own": lambda: call(56, 0x10000000, 0, 0)}
network = len(sys.argv) > 5
if network:
    def line(protocol):
        return lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol).connect(("127.0.0.1", port))
    deeds = {"TCP": line(0), "several paths": line(262), "at once": lambda: socket.socket().sendto(
        b"x", socket.MSG_FASTOPEN, ("127.0.0.1", port))}
confine.confine([], [own], ports={443} if network else None)
for name, deed in deeds.items():
    try:
        deed()
    except PermissionError:
        continue
    except OSError as error:
        if name == "hard link":  # it lies on no disk of this process's
            continue
        raise SystemExit(f"{name}: {error}")
    raise SystemExit(f"{name} was done")
import threading
thread = threading.Thread(target=print)  # what a library needs goes on
thread.start()
thread.join()
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
"""


@pytest.mark.parametrize("network", [False, True])
def test_what_landlock_does_not_look_at_is_held_too(tmp_path: Path, network: bool) -> None:
    """Files' rights, owners and times; links and pipes that the studio would follow; other processes' limits and
    signals; memory that outlives the process; and streams that are no TCP to Landlock."""
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.write_text("another's")
    other.chmod(0o600)
    before = other.stat()
    with subprocess.Popen(["sleep", "600"]) as neighbour, socket.create_server(("127.0.0.1", 0)) as line:
        words = [str(neighbour.pid), str(other), str(own), str(line.getsockname()[1]), *["network"][: network]]
        done = subprocess.run([sys.executable, "-c", DEEDS, *words], capture_output=True, text=True,
                              cwd=Path(__file__).resolve().parents[2])
        assert neighbour.poll() is None
        neighbour.kill()
    assert done.returncode == 0, done.stderr
    after = other.stat()
    assert (after.st_mode, after.st_mtime, after.st_ctime) == (before.st_mode, before.st_mtime, before.st_ctime)
    assert not list(own.iterdir())


@pytest.mark.parametrize("files", [True, False])
def test_a_decoder_that_lies_gets_no_other_picture(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch,
                                                   files: bool) -> None:
    """One that was taken over says the hash of another person's picture, with a file of that name and without."""
    hers = home / "images" / "ab" / f"{'ab' * 32}.webp"
    hers.parent.mkdir(parents=True)
    hers.write_bytes(b"another person's picture")
    plant_liar(tmp_path, monkeypatch, hers.stem, files)
    Image.new("RGB", (80, 80), "red").save(tmp_path / "a.png")
    dataset = datasets.begin(home, "mine", "eve")
    report = datasets.add(dataset, [("a.png", tmp_path / "a.png")])
    assert "made its reader say what is not so" in report["skipped"][0]["reason"], report
    assert dataset.rows() == [] and hers.read_bytes() == b"another person's picture"


def plant_liar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha256: str, files: bool) -> None:
    """`liar.py` in every limited process."""
    plant = tmp_path / "plant"
    plant.mkdir()
    shutil.copy(THIEF.with_name("liar.py"), plant / "sitecustomize.py")
    (plant / "target.json").write_text(json.dumps({"sha256": sha256, "files": files}))
    monkeypatch.setenv("PYTHONPATH", str(plant))
