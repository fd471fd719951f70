"""The power cut on a real ext4:  python -m benchmarks.powercut.real [--operations batches,train]

An operation is done on an ext4 of its own, on a loop device. At each acknowledgement the device is copied as it is,
which is what a disk holds when the power goes then; once more after another program has flushed a file of its own,
which commits the journal. Each copy is mounted and looked at: it must show what the living home shows. Needs root.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .__main__ import ROOT
from .look import ReaderCrashed, Seen, look, places

OPERATIONS = ("import_files", "batches", "delete_run", "delete_dataset", "presets", "restore", "branch", "jobs",
              "train", "resume_named")
SIZE = 256 << 20


class CannotMount(Exception):
    """No loop device can be mounted here."""


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """The file system in the file `image`, at `place`. Raises CannotMount."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True)
    if done.returncode:
        raise CannotMount(done.stderr.strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def cuts(name: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """For each acknowledgement of an operation, twice, what a power cut at this moment takes away or changes."""
    image = folder / "disk"
    with open(image, "wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with mounted(image, folder / "live") as live:
        actor = subprocess.Popen([sys.executable, "-m", "benchmarks.powercut.act", name, str(live / "home")], cwd=ROOT,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield from _at_each_mark(actor, folder, live)
            if actor.wait():
                raise SystemExit(f"{name} ended with status {actor.returncode}")
        finally:
            actor.kill()
            actor.communicate()


def _at_each_mark(actor: subprocess.Popen[str], folder: Path, live: Path) -> Iterator[tuple[str, list[str]]]:
    assert actor.stdin is not None and actor.stdout is not None
    for line in actor.stdout:
        if line.startswith("mark "):
            seen, said = look(live / "home"), line.strip()
            yield said, _cut(folder, seen)
            with open(live / "other", "ab") as file:
                file.write(b"x")
                file.flush()
                os.fsync(file.fileno())
            yield f"{said}, another program flushed", _cut(folder, seen)
        if line.strip() in ("ready", "done") or line.startswith("mark "):
            print(file=actor.stdin, flush=True)


def _cut(folder: Path, seen: Seen) -> list[str]:
    """What a copy of the device, taken now, does not show as `seen`."""
    copy = folder / "copy"
    subprocess.run(["cp", "--sparse=always", str(folder / "disk"), str(copy)], check=True)
    with mounted(copy, folder / "after") as after:
        try:
            found = look(after / "home")
        except ReaderCrashed as crash:
            return [f"a reader crashed: {crash}"]
    differences = [f"{key} is {found.get(key)!r} and not {value!r}"[:300] for key, value in seen.items()
                   if found.get(key) != value and not key.startswith(("at/", "trash/"))
                   and not key.endswith(("/state", "/error"))]  # what lived a moment ago is told as cut
    there = places(found)
    return differences + [f"{name} lies in {sorted(there.get(name, ())) or 'no place'} and not in {sorted(where)}"
                          for name, where in places(seen).items() if there.get(name) != where]


def main() -> int:
    """1 when anything acknowledged was gone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.powercut.real", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", default=",".join(OPERATIONS), help="separated by commas")
    bad = 0
    for name in parser.parse_args().operations.split(","):
        count = 0
        with tempfile.TemporaryDirectory(prefix="powercut-") as folder:
            for when, differences in cuts(name, Path(folder)):
                count += 1
                bad += bool(differences)
                for line in differences[:3]:
                    print(f"  {name}, {when}: {line}", flush=True)
        print(f"{name}: {count} power cuts", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
