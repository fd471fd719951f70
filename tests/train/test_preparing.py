"""Preparing: on each machine once, and before the processes meet, so that nothing they do together waits for it."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

from studio import storage
from studio.train import preparing

from .conftest import Make, curve, told, train, two_ranks

QUIET = {"every_steps": 0, "prompts": []}


def entries(home: Path) -> list[str]:
    """The pictures' encodings in the cache, one that was made twice twice."""
    files = (home / "cache" / "images").glob("*/*.safetensors")
    return [name.partition("/")[0] for path in files for name in safe_open(path, framework="pt").keys()  # noqa: SIM118
            if name.endswith("/mean")]


def test_no_meeting_waits_for_an_encoder(make: Make, home: Path) -> None:
    """A slow encoder and impatient processes: the one that has nothing left to encode does not wait in a collective."""
    run = make(pictures=13, sample=QUIET, data={"random_flip": True}, compute={"num_processes": 2},
               train={"max_steps": 4})
    done = two_ranks(run, "slow:600", "patience:3000")  # 26 encodings: at least 7.8 s on two ranks
    assert done.returncode == 0, done.stderr[-3000:]
    assert told(run, "end")[-1]["result"] == "finished"
    found = entries(home)
    assert len(found) == len(set(found)) == 26
    caching = [e for e in told(run, "phase") if e["phase"] == "caching"]
    assert caching[-1]["done"] == caching[-1]["total"] == 26 + 26


def test_what_another_process_works_at_comes_last(home: Path) -> None:
    """A piece's lock is free again when its process is done, or dead; whoever gets it then does what is missing."""
    made: list[int] = []
    other = storage.Lock(home / "locks" / "encodings-2.lock")
    assert other.acquire()

    def fill(piece: int) -> None:
        made.append(piece)
        if piece == 1:
            other.release()

    preparing._share_out(home / "locks", 4, 1, 2, fill)
    assert made == [3, 0, 1, 2]


def test_a_machine_of_two_processes_encodes_as_one_does(make: Make, home: Path) -> None:
    two = make(train={"batch_size": 2}, compute={"num_processes": 2}, sample=QUIET)
    assert two_ranks(two).returncode == 0
    found = set(entries(home))
    one = make(train={"batch_size": 4}, sample=QUIET)
    assert train(one) == "finished" and set(entries(home)) == found and len(curve(one)) == 8
