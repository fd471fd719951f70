"""The cache: shared by runs, made again where it is gone, kept within its size, and the encoders gone after it."""

from __future__ import annotations

import gc
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio import families, storage
from studio.folders import runs
from studio.train import previews

from .conftest import Make, child, curve, fingerprint, picture, told, train
from .test_loop import ask_at

QUIET = {"every_steps": 0, "prompts": []}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, weakref.ref[Any]]:
    """The parts of the toy family that were loaded, each as long as it lives."""
    found: dict[str, weakref.ref[Any]] = {}
    toy = type(families.get("toy"))
    load: Callable[..., Any] = toy.load

    def watched(self: Any, part: str, source: Any, dtype: str | None = None) -> Any:
        made = load(self, part, source, dtype)
        found[part] = weakref.ref(made)
        return made

    monkeypatch.setattr(toy, "load", watched)
    return found


def shards(home: Path) -> dict[str, int]:
    """The cache's files with their i-nodes."""
    return {p.relative_to(home).as_posix(): p.stat().st_ino for p in (home / "cache").glob("*/*/*.safetensors")}


def test_a_second_run_finds_the_cache_and_loads_no_encoder(
        make: Make, home: Path, loaded: dict[str, weakref.ref[Any]]) -> None:
    train(make(train={"max_steps": 1}, sample=QUIET))
    assert set(loaded) == {"eye", "text_a", "text_b", "transformer"}
    before = shards(home)
    loaded.clear()
    assert len(before) == 2 and train(make(train={"max_steps": 1, "seed": 9}, sample=QUIET)) == "finished"
    assert shards(home) == before and set(loaded) == {"transformer"}


def test_the_encoders_are_gone_before_the_first_step(
        make: Make, loaded: dict[str, weakref.ref[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from studio.train import loop

    alive: list[set[str]] = []
    real = loop.take_step

    def update(*args: Any) -> None:
        gc.collect()
        alive.append({part for part, kept in loaded.items() if kept() is not None})
        real(*args)

    monkeypatch.setattr(loop, "take_step", update)
    assert train(make(train={"max_steps": 3}, sample={"every_steps": 1})) == "finished"
    assert alive == [{"transformer"}] * 3 and len(loaded) == 4


def test_a_preview_loads_no_text_encoder_but_for_new_words(
        make: Make, home: Path, loaded: dict[str, weakref.ref[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts are encoded with the captions; a drawing takes what decodes, and encoders for new words alone."""
    run = make(train={"max_steps": 2}, sample={"every_steps": 1})
    drawn: list[set[str]] = []
    real = previews.PreviewGenerator._generate

    def generate(self: Any, *args: Any, **options: Any) -> None:
        loaded.clear()
        real(self, *args, **options)
        drawn.append(set(loaded))

    monkeypatch.setattr(previews.PreviewGenerator, "_generate", generate)
    ask_at(run, monkeypatch, 1, ("sample", {"prompt": "words that nobody has said"}))
    assert train(run) == "finished"
    assert sorted(map(len, drawn)) == [1, 1, 1, 3] and {"eye"} in drawn and {"eye", "text_a", "text_b"} in drawn


@pytest.mark.parametrize("which", [0, 1, 2])
def test_half_of_the_cache_deleted_changes_nothing(
        make: Make, home: Path, which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from studio.train.batches import cache

    monkeypatch.setattr(cache, "SHARD_BYTES", 800)  # several shards each
    whole, broken = make(), make()
    assert train(whole) == "finished"
    assert child(broken, "step:5").returncode != 0
    for path in sorted((home / "cache").glob("*/*/*.safetensors"))[which % 2 :: 2] if which < 2 else (
            home / "cache").glob("*/*/*.safetensors"):
        path.unlink()
    assert train(broken) == "finished" and told(broken, "resumed")[0]["from_step"] == 3
    assert (curve(broken), fingerprint(broken, 8)) == (curve(whole), fingerprint(whole, 8))


def short(make: Make, home: Path, first: int, result: str = "finished",
          monkeypatch: pytest.MonkeyPatch | None = None) -> tuple[runs.Run, set[str]]:
    """A run over pictures of its own, and the shards it made."""
    before = set(shards(home))
    run = make(rows=[picture(home, n) for n in range(first, first + 3)], train={"max_steps": 2}, sample=QUIET)
    storage.write_json(run.process_file, {"attempt": 1, "began": time.time()})  # as a supervisor tells that it began
    if result == "stopped" and monkeypatch is not None:
        from .test_loop import ask_at

        with monkeypatch.context() as patch:
            ask_at(run, patch, 1, ("stop", {}))
            assert train(run) == "stopped"
    else:
        assert train(run) == "finished"
    return run, set(shards(home)) - before


def test_the_least_recently_used_go_and_never_those_of_a_run_that_can_go_on(
        make: Make, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, kept = short(make, home, 0, "stopped", monkeypatch)
    _, oldest = short(make, home, 10)
    used, again = short(make, home, 20)
    for age, names in ((300, kept), (200, again), (100, oldest)):
        for name in names:
            os.utime(home / name, (1e9 - age, 1e9 - age))
    user = make(rows=used.rows(), train={"max_steps": 1}, sample=QUIET)  # uses what `again` holds
    storage.write_json(user.process_file, {"attempt": 1, "began": time.time()})
    train(user)
    sizes = {name: (home / name).stat().st_size for name in shards(home)}
    monkeypatch.setenv("STUDIO_CACHE_GB", str((sum(sizes.values()) + 500) / 1e9))
    _, new = short(make, home, 30)
    left = set(shards(home))
    assert kept | again | new <= left and not oldest <= left
    monkeypatch.setenv("STUDIO_CACHE_GB", "0")
    run, new = short(make, home, 40)
    assert set(shards(home)) == kept | new
    warning = told(run, "warning")[-1]
    assert warning["code"] == "cache_full" and "STUDIO_CACHE_GB" in warning["message"]
    runs.delete(home, stopped)
    last, new = short(make, home, 50)
    assert set(shards(home)) == new and train(make(rows=last.rows(), train={"max_steps": 1})) == "finished"


def test_a_wrong_limit_is_said_and_the_default_taken(make: Make, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_CACHE_GB", "lots")
    run, _ = short(make, home, 0)
    assert [e["code"] for e in told(run, "warning")] == ["cache_limit"] and len(shards(home)) == 2
