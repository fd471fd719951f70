"""The event file: one writer after another, torn and foreign lines, readers by offset, and the fold to a state."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio import secrets
from studio.folders import events

ROOT = Path(__file__).resolve().parent.parent


def told(path: Path) -> events.RunHistory:
    """The story of all events in `path`."""
    history = events.RunHistory()
    for event in events.read(path)[0]:
        history.add(event)
    return history


def write_steps(path: Path, first: int, last: int, attempt: int, **resumed: Any) -> None:
    """An attempt that makes the steps first..last."""
    writer = events.EventWriter(path)
    writer.add("attempt", attempt=attempt, total_steps=100)
    if resumed:
        writer.add("resumed", **resumed)
    for step in range(first, last + 1):
        writer.step(step, loss=1 / step, lr=1e-4, grad_norm=None, pictures=8, seconds=0.5)
    writer.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.mark.parametrize("torn", [b'{"seq": 9, "kind": "st', b"\x00" * 40, b'{"a": 1}\r{"b"', "\u00e9".encode()[:1]])
def test_the_successor_closes_a_torn_line_and_counts_on(path: Path, torn: bytes) -> None:
    write_steps(path, 1, 3, attempt=1)
    with open(path, "ab") as file:
        file.write(torn)
    before, offset = events.read(path)
    assert [e["seq"] for e in before] == [1, 2, 3, 4]
    write_steps(path, 4, 5, attempt=2, from_step=3)
    after, end = events.read(path, offset)
    assert [e["seq"] for e in after] == [5, 6, 7, 8] and end == path.stat().st_size
    assert list(told(path).curve.step) == [1, 2, 3, 4, 5]


def test_a_line_torn_just_before_its_end_counts(path: Path) -> None:
    write_steps(path, 1, 2, attempt=1)
    os.truncate(path, path.stat().st_size - 1)
    assert [e["seq"] for e in events.read(path)[0]] == [1, 2]
    write_steps(path, 3, 3, attempt=2, from_step=2)
    assert [e["seq"] for e in events.read(path)[0]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("size", [0, 10])
def test_a_new_file_and_an_empty_one_begin_at_one(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)
    write_steps(path, 1, 1, attempt=1)
    assert events.read(path)[0][0]["seq"] == 1


def test_the_last_number_is_found_behind_long_foreign_lines(path: Path) -> None:
    write_steps(path, 1, 3, attempt=1)
    with open(path, "ab") as file:
        file.write(b"y" * 200_000 + b"\n")
    assert events.last_seq(path) == 4


def test_numbers_json_has_not_become_null(path: Path) -> None:
    writer = events.EventWriter(path)
    writer.step(1, loss=math.nan, lr=math.inf, grad_norm=-math.inf, pictures=8, seconds=0.1)
    writer.end("diverged", 1, {"evidence": {"losses": [0.1, math.nan]}})
    step, end = events.read(path)[0]
    assert (step["loss"], step["lr"], step["grad_norm"]) == (None, None, None)
    assert end["error"] == {"evidence": {"losses": [0.1, None]}}


def test_text_stays_one_line(path: Path) -> None:
    writer = events.EventWriter(path)
    writer.warning("code", "two\nlines\r\nand \u2028 \u00e9")
    assert events.read(path)[0][0]["message"] == "two\nlines\r\nand \u2028 \u00e9"
    assert path.read_bytes().count(b"\n") == 1


FULL = """
import resource, signal, sys
from pathlib import Path
from studio.folders import events
path = Path(sys.argv[1])
writer = events.EventWriter(path)
writer.warning("first", "x")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, resource.RLIM_INFINITY))
try:
    writer.warning("lost", "x" * 100)
except OSError as error:
    print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.warning("next", "x")
"""


def test_a_line_that_a_full_disk_cut_off_spoils_no_other(path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY:
        pytest.skip("this process may not lift its own file size limit")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "OSError\n", done.stderr
    assert [e["code"] for e in events.read(path)[0]] == ["first", "next"]


def test_reading_on_from_an_offset_and_a_part_at_a_time(path: Path) -> None:
    assert events.read(path) == ([], 0)
    write_steps(path, 1, 5, attempt=1)
    first, offset = events.read(path, most=1)
    rest, end = events.read(path, offset)
    assert [e["seq"] for e in first + rest] == [1, 2, 3, 4, 5, 6] and events.read(path, end) == ([], end)
    with open(path, "ab") as file:
        file.write(b'{"seq": 7, "kind": "half"')
    assert events.read(path, end) == ([], end)


def test_points_a_killed_attempt_made_past_its_checkpoint_are_dropped(path: Path) -> None:
    write_steps(path, 1, 8, attempt=1)
    writer = events.EventWriter(path)
    writer.add("sample", step=6, file="step-000006-p0-ema.webp")
    writer.add("sample", step=4, file="step-000004-p0-ema.webp")
    write_steps(path, 6, 7, attempt=2, from_step=5, checkpoint="checkpoint-5", exact=True, note="")
    history = told(path)
    assert list(history.curve.step) == [1, 2, 3, 4, 5, 6, 7] and history.step == 7
    assert [s["step"] for s in history.samples] == [4]
    assert len(history.curve.loss) == len(history.curve.seconds) == len(history.curve.pictures) == 7


def test_what_each_attempt_warns_of_is_told_once(path: Path) -> None:
    for attempt in (1, 2):
        writer = events.EventWriter(path)
        writer.add("attempt", attempt=attempt, total_steps=100)
        writer.add("warning", code="texts_not_cached", message="Slower.")
        writer.add("warning", code="texts_not_cached", message=f"Attempt {attempt}.")
        writer.close()
    assert [one["message"] for one in told(path).warnings] == ["Slower.", "Attempt 1.", "Attempt 2."]


def test_a_story_follows_samples_checkpoints_and_controls(path: Path) -> None:
    writer = events.EventWriter(path)
    writer.add("attempt", attempt=1)
    writer.add("sample", step=0, file="a", prompt="old")
    writer.add("sample", step=0, file="a", prompt="drawn again")
    for step in (1, 2):
        writer.add("checkpoint", step=step, name=f"checkpoint-{step}", ok=True)
    writer.add("retired", name="checkpoint-1")
    writer.add("control", id="7", control="pause", result="refused")
    writer.add("something", new=True)
    history = told(path)
    assert [s["prompt"] for s in history.samples] == ["drawn again"]
    assert [c["name"] for c in history.checkpoints] == ["checkpoint-2"]
    assert history.ending is None and history.controls["7"]["result"] == "refused" and history.seq == 8


def story_of(*happened: tuple[str, dict[str, Any]]) -> events.RunHistory:
    """A story without a file."""
    history = events.RunHistory()
    for seq, (kind, fields) in enumerate(happened, 1):
        history.add({"seq": seq, "time": 1.0, "kind": kind, **fields})
    return history


ATTEMPT = ("attempt", {"attempt": 1})
STOP = ("control", {"id": "1", "control": "stop", "result": "accepted"})


def end(result: str) -> tuple[str, dict[str, Any]]:
    return "end", {"result": result, "step": 1}


@pytest.mark.parametrize("happened, alive, wanted, started, exit_, state", [
    ([], False, 1, 0, None, "queued"),
    ([], True, 1, 0, None, "starting"),
    ([], True, 1, 1, None, "starting"),
    ([ATTEMPT], True, 1, 1, None, "running"),
    ([ATTEMPT, STOP], True, 1, 1, None, "stopping"),
    ([ATTEMPT, STOP, end("stopped")], True, 1, 1, None, "stopped"),
    ([ATTEMPT, STOP, end("stopped")], False, 1, 1, {"attempt": 1, "returncode": 0}, "stopped"),
    ([ATTEMPT, end("finished")], False, 1, 1, {"attempt": 1, "returncode": 1}, "finished"),
    ([ATTEMPT, end("paused")], False, 2, 1, None, "queued"),
    ([ATTEMPT, end("paused")], True, 2, 2, None, "starting"),
    ([ATTEMPT, end("paused"), ("attempt", {"attempt": 2})], True, 2, 2, None, "running"),
    ([ATTEMPT, STOP, ("attempt", {"attempt": 2})], True, 2, 2, None, "running"),
    ([ATTEMPT], False, 1, 1, None, "interrupted"),
    ([ATTEMPT], False, 1, 1, {"attempt": 1, "returncode": 0}, "interrupted"),
    ([ATTEMPT], False, 1, 1, {"attempt": 1, "returncode": 1}, "failed"),
    ([ATTEMPT], False, 1, 1, {"attempt": 1, "returncode": -9}, "failed"),
    ([ATTEMPT], False, 1, 1, {"attempt": 1, "returncode": None, "error": {"code": "x"}}, "failed"),
    ([ATTEMPT], False, 1, 1, {"attempt": 1, "returncode": -9, "result": "cancelled"}, "cancelled"),
    ([], False, 1, 1, {"attempt": 1, "result": "cancelled"}, "cancelled"),
    ([ATTEMPT], False, 2, 2, {"attempt": 1, "returncode": 1}, "interrupted"),
    ([ATTEMPT, end("failed")], False, 2, 2, {"attempt": 2, "returncode": 1}, "failed"),
])
def test_the_one_state_of_a_run(happened: list[tuple[str, dict[str, Any]]], alive: bool, wanted: int, started: int,
                                exit_: dict[str, Any] | None, state: str) -> None:
    assert events.state_of(story_of(*happened), alive=alive, wanted=wanted, started=started, exit_=exit_) == state
    assert state in events.STATES


KINDS = [name.removeprefix("_on_") for name in dir(events.RunHistory) if name.startswith("_on_")]
VALUES = (st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3) | st.lists(st.integers())
          | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2))
NAMES = sorted({name for needed in events.NEEDED.values() for name in needed} | {"id", "control", "time", "pictures"})
LINES = st.builds(lambda kind, fields: json.dumps({"seq": 1, "kind": kind, **fields}).encode() + b"\n",
                  st.sampled_from(KINDS) | st.text(max_size=4),
                  st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6)) | st.binary(max_size=20)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=8))
def test_no_content_of_the_file_stops_a_reader_or_the_next_writer(tmp_path_factory: pytest.TempPathFactory,
                                                                  lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "events.jsonl"
    path.write_bytes(b"".join(lines))
    history = told(path)
    assert json.dumps([history.seconds_per_step, history.phase], allow_nan=False)
    assert len({len(column) for column in history.curve.__dict__.values()}) == 1
    last = events.last_seq(path)
    events.EventWriter(path).phase("training")
    assert events.read(path)[0][-1]["seq"] == last + 1 and told(path).phase


@pytest.mark.parametrize("text, kept", [
    ("token hf_abcdefgh12345678 here", "token [secret] here"),
    ("Authorization: Bearer abc.def-123", "Authorization: Bearer [secret]"),
    ("https://name:word@host/path", "https://[secret]@host/path"),
    ("nothing hf_ to hide", "nothing hf_ to hide"),
])
def test_secrets_do_not_leave_a_log(text: str, kept: str) -> None:
    assert secrets.redact(text) == kept
