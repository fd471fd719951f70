"""Starts through the warm server: the same bits and the same processes as a cold start, whoever is killed when."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from studio import datasets, launch, prepare
from studio.folders import runs
from studio.launch import processes, warm
from studio.system import machine, title

from .conftest import alive, nobody_left, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no warm server elsewhere")
ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "studio" / "assets" / "sample" / "images"
SHORT = {"data": {"resolution": 32}, "train": {"max_steps": 12, "batch_size": 2, "seed": 3, "mixed_precision": "no"},
         "sample": {"prompts": ["a red apple"], "every_steps": 0, "num_inference_steps": 2},
         "checkpoint": {"every_steps": 4, "keep": 9}}
CANARY = "hf_" + "canary" * 5
until = partial(wait_for, seconds=150.0)
Make = Callable[..., runs.Run]


@pytest.fixture(scope="module")
def server() -> Iterator[warm.Server]:
    started = warm.start_server(machine.cores())
    until(started.ready)
    yield started
    started.end()


@pytest.fixture
def make(home: Path, facts_of_machine: Path) -> Make:
    """Makes queued runs of the embedded base on three pictures."""
    (home / "cache").mkdir(exist_ok=True)
    shutil.copy(facts_of_machine, home / "cache" / "machine.json")
    files = sorted(PICTURES.glob("*.webp"))[:3]
    made = datasets.begin(home, "three", "local")
    datasets.add(made, [(path.name, path) for path in files])

    def make_(**sections: dict[str, Any]) -> runs.Run:
        changes = {name: {**SHORT.get(name, {}), **settings} for name, settings in sections.items()}
        settings = {**SHORT, **changes}
        settings["data"] = {**settings["data"], "dataset": made.id}
        return prepare.submit(home, name="a run", owner="local", config=settings)

    return make_


def endless(make: Make) -> runs.Run:
    return make(train={"max_steps": 100_000}, sample={"prompts": []}, checkpoint={"every_steps": 100_000})


def state(run: runs.Run) -> str:
    return runs.EventReader().state(run)[0]


def trains(run: runs.Run) -> psutil.Process:
    """Its trainer, once it has made a step."""
    until(lambda: runs.EventReader().history(run).step >= 1)
    (trainer,) = trainers(run)
    return trainer


def trainers(run: runs.Run) -> list[psutil.Process]:
    return list(filter(processes._is_worker, processes.marked(run.path)))


def finished(run: runs.Run) -> dict[str, str]:
    """What a run left behind, by name, once it has finished well."""
    until(lambda: state(run) not in ("queued", "starting", "running", "stopping") and nobody_left(run))
    assert state(run) == "finished", run.log_file.read_text()
    assert [line for line in run.log_file.read_text().splitlines() if not line.startswith("--- attempt ")] == []
    last = run.checkpoints / f"checkpoint-{SHORT['train']['max_steps']}"
    files = [*last.rglob("*.safetensors"), *(run.path / "samples").rglob("*.webp")]
    assert len(files) >= 3
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_bits_warm_and_cold_killed_and_resumed_across(server: warm.Server, make: Make) -> None:
    cold, warm_ = make(), make()
    launch.spawn(cold, 1)
    bits = finished(cold)
    started = launch.spawn(warm_, 1, server=server)
    assert isinstance(started, warm.Started)
    assert finished(warm_) == bits
    assert until(lambda: started.poll() is not None) and started.returncode == 0
    for first, second in ((server, None), (None, server)):
        run = make(train={"max_steps": 12})
        launch.spawn(run, 1, server=first)
        until(lambda run=run: next(run.valid_checkpoints(), None))
        for trainer in trainers(run):
            trainer.kill()
        until(lambda run=run: nobody_left(run))
        if state(run) != "finished":  # it may have been quicker
            assert launch.resume(run, runs.EventReader()) == 2
            launch.spawn(run, 2, server=second)
        assert finished(run) == bits


def test_what_is_forked_looks_like_what_is_started(server: warm.Server, make: Make) -> None:
    run = endless(make)
    started = launch.spawn(run, 1, token=CANARY, server=server)
    trainer = trains(run)
    supervisor = psutil.Process(started.pid)
    assert trainer.parent() == supervisor and supervisor.cmdline()[1:3] == ["-m", "studio.launch"]
    command = [word for word in trainer.cmdline() if word.strip()]
    assert command == [sys.executable, "-m", processes.TRAINER, str(run.path)]
    assert trainer.environ() == processes.mark(run.path)
    assert trainer in processes.marked(run.path) and supervisor not in processes.marked(run.path)
    first, last, second = (int(Path(f"/proc/{each.pid}/oom_score_adj").read_text())
                           for each in (server_of(server), supervisor, trainer))
    assert first == 1000 > second > last, "where memory runs out the server goes first, the trainer next"
    assert trainer.nice() == psutil.Process().nice() and Path(trainer.cwd()) == run.path
    assert sockets(trainer) & sockets(server_of(server)) == set(), "nothing of the server's is open"
    assert sockets(supervisor) & sockets(server_of(server)) == set()
    # What is lent to a run is in the memory of its supervisor, and never in the server's.
    assert holds(supervisor, CANARY) and not holds(server_of(server), CANARY)
    launch.ask(run, "cancel", runs.EventReader())
    until(lambda: state(run) == "cancelled" and nobody_left(run))


def server_of(server: warm.Server) -> psutil.Process:
    assert server._process is not None
    return psutil.Process(server._process.pid)


def sockets(process: psutil.Process) -> set[str]:
    """The sockets that a process has open."""
    links = set()
    for handle in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            links.add(os.readlink(handle))
        except FileNotFoundError:
            continue
    return {link for link in links if link.startswith("socket:")}


def holds(process: psutil.Process, text: str) -> bool:
    """Whether a text is anywhere in what a process may write in its memory."""
    wanted = text.encode()
    with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            if not rights.startswith("rw"):
                continue
            first, last = (int(end, 16) for end in place.split("-"))
            memory.seek(first)
            try:
                if wanted in memory.read(last - first):
                    return True
            except OSError:  # not to be read: of the kernel's
                continue
    return False


def test_a_run_of_other_surroundings_starts_as_always(server: warm.Server, make: Make) -> None:
    run = make(train={"max_steps": 100_000}, sample={"prompts": []}, compute={"thread_wait": "spin"})
    started = launch.spawn(run, 1, server=server)
    trainer = trains(run)
    assert trainer.environ()["OMP_WAIT_POLICY"] == "ACTIVE", "what is read at a process's start is read"
    assert psutil.Process(started.pid).children() == [trainer], "nobody waits for what does not come"
    launch.ask(run, "cancel", runs.EventReader())
    until(lambda: state(run) == "cancelled" and nobody_left(run))


@pytest.mark.parametrize("phase", ["it imports", "it is ready", "it hangs"])
def test_a_start_needs_no_server(make: Make, phase: str) -> None:
    server = warm.start_server(1)
    process = server_of(server)
    if phase != "it imports":
        until(server.ready)
    process.send_signal(signal.SIGSTOP if phase == "it hangs" else signal.SIGKILL)
    run = endless(make)
    started = launch.spawn(run, 1, server=server)
    assert isinstance(started, subprocess.Popen)
    trains(run).kill()
    until(lambda: state(run) == "failed" and nobody_left(run))
    started.wait(30)
    server.end()
    assert not process.is_running()


def test_the_server_is_killed_while_its_run_trains(make: Make) -> None:
    server = warm.start_server(machine.cores())
    until(server.ready)
    run = endless(make)
    started = launch.spawn(run, 1, server=server)
    trains(run)
    server_of(server).kill()
    before = runs.EventReader().history(run).step
    until(lambda: runs.EventReader().history(run).step > before)
    assert started.poll() is None, "it has not ended"
    launch.ask(run, "stop", runs.EventReader())
    until(lambda: state(run) == "stopped" and nobody_left(run))
    assert until(lambda: started.poll() is not None) and started.returncode == 0
    server.end()


def test_the_trainer_or_the_supervisor_is_killed(server: warm.Server, make: Make) -> None:
    run = endless(make)
    started = launch.spawn(run, 1, server=server)
    trains(run).kill()
    until(lambda: state(run) == "failed" and nobody_left(run))
    exit_ = run.exit()
    assert exit_ is not None and exit_["error"] is not None
    assert exit_["signal"] == signal.SIGKILL and exit_["error"]["code"] == "killed"
    assert until(lambda: started.poll() is not None) and started.returncode == 0

    assert launch.resume(run, runs.EventReader()) == 2
    started = launch.spawn(run, 2, server=server)
    until(lambda: state(run) == "running")
    trainer = trains(run)
    psutil.Process(started.pid).kill()
    until(lambda: state(run) == "interrupted" and not alive([trainer]))
    assert until(lambda: started.poll() is not None) and started.returncode == -signal.SIGKILL

    assert launch.resume(run, runs.EventReader()) == 3
    started = launch.spawn(run, 3, server=server)
    until(lambda: state(run) == "running")
    hung = trains(run)
    hung.send_signal(signal.SIGSTOP)
    psutil.Process(started.pid).kill()
    assert hung in processes.marked(run.path), "whoever looks for what is left finds it"
    hung.send_signal(signal.SIGCONT)
    until(lambda: state(run) == "interrupted" and not alive([hung]))
    assert launch.resume(run, runs.EventReader()) == 4
    launch.spawn(run, 4, server=server)
    until(lambda: runs.EventReader().history(run).attempt == 4)
    launch.ask(run, "cancel", runs.EventReader())
    until(lambda: state(run) == "cancelled" and nobody_left(run))


def test_what_waits_leaves_with_its_supervisor(server: warm.Server, tmp_path: Path) -> None:
    process = server_of(server)
    waits = "import sys, time; print(sys.argv[-1], flush=True); time.sleep(600)"
    log = tmp_path / "log"
    started = server.start({"argv": [sys.executable, "-c", waits], "environment": {}, "folder": str(tmp_path),
                            "log": str(log)})
    assert started is not None
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    (waiting,) = psutil.Process(started.pid).children()
    assert log.read_text().strip().endswith(f":{waiting.pid}")
    psutil.Process(started.pid).kill()
    until(lambda: not alive([waiting]))
    assert until(lambda: started.poll() is not None) and started.returncode == -signal.SIGKILL
    assert process.children() == []


HEIR = """
import os, sys, time
from studio.launch import forks, processes, warm
processes.adopt_orphans()  # as the first process of a container does
server = warm.start_server(1)
while not server.ready():
    time.sleep(0.05)
waits = "import sys; sys.exit(len(sys.stdin.read()) + 3)"
started = server.start({"argv": [sys.executable, "-c", waits], "environment": {}, "folder": "/", "log": sys.argv[1]})
os.kill(started.pid, 19)  # it does not end before its server
server.end()
assert started.poll() is None, "it lives on"
os.kill(started.pid, 18)
while started.poll() is None:
    time.sleep(0.05)
print(started.returncode, started.pid in [child.pid for child in processes.psutil.Process().children()])
"""


def test_an_end_is_seen_by_whoever_inherits_a_supervisor(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", HEIR, str(tmp_path / "log")], cwd=ROOT, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=300)
    assert done.stdout.split() == ["3", "False"], done.stderr


def test_fifty_starts_leave_nothing(server: warm.Server, tmp_path: Path) -> None:
    process = server_of(server)

    def start() -> None:
        started = server.start({"argv": [sys.executable, "-c", "import sys; sys.exit(3)"], "environment": {},
                                "folder": str(tmp_path), "log": str(tmp_path / "log")})
        assert started is not None
        assert until(lambda: started.poll() is not None) and started.returncode == 3

    start()
    before = process.num_fds(), psutil.Process().num_fds(), len(os.listdir("/dev/shm"))
    for _ in range(50):
        start()
    assert (process.num_fds(), psutil.Process().num_fds(), len(os.listdir("/dev/shm"))) == before
    assert process.children() == [] and process.num_threads() == 1


ALONE = """
import sys
from studio.launch import forks
forks.IDLE_SECONDS, forks.LOOK_SECONDS, forks.LEAST_FREE = float(sys.argv[1]), 0.1, int(sys.argv[2])
forks.imports = lambda: None
sys.exit(forks.main(sys.argv[3:]))
"""


@pytest.mark.parametrize("idle, least_free, closes", [(0.5, 0, False), (600, 1 << 60, False), (600, 0, True)])
def test_the_server_ends_when_nobody_needs_it(idle: float, least_free: int, closes: bool) -> None:
    here, there = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with here, there:
        argv, environment = title.with_room([sys.executable, "-c", ALONE, str(idle), str(least_free),
                                             str(there.fileno())], {**os.environ, "PYTHONPATH": str(ROOT)})
        process = subprocess.Popen(argv, env=environment, pass_fds=[there.fileno()])
        there.close()
        server = warm.Server(here, process)
        if closes:
            until(server.ready)
            here.close()
        assert process.wait(60) == 0


def test_a_process_that_is_told_of_by_another_name() -> None:
    argv, environment = title.with_room([sys.executable, "-c", """
import sys
from studio.system import title
assert title.leave_room(sys.argv[1:]) == ["a"]
title.become(["python", "-m", "x", "y" * 4000], {"A": "1", "B": "2" * 4000})
import ctypes, os
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
assert getenv(b"PYTHONPATH").decode() == os.environ["PYTHONPATH"], "the C library finds what was there"
print("told", flush=True)
sys.stdin.read()
try:
    title.become(["x" * 9000], {})
except ValueError as error:
    print(error)
""", "a"], {**os.environ, "PYTHONPATH": str(ROOT)})
    process = subprocess.Popen(argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == "told\n"
    seen = psutil.Process(process.pid)
    *command, rest = seen.cmdline()
    assert command == ["python", "-m", "x", "y" * 4000] and not rest.strip()
    assert seen.environ() == {"A": "1", "B": "2" * 4000}
    assert process.communicate()[0] == "there is no room for so long a command\n"
