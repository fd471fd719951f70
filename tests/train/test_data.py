"""Buckets, crops, flips and dropped captions: what a global batch is made of, and that every recipe resumes exactly."""

from __future__ import annotations

import signal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.datasets.pictures.buckets import Buckets
from studio.train.batches.sampler import DeterministicSampler, split_microbatches

from .conftest import Make, child, curve, fingerprint, picture, told, train

SIZES = [(40, 48), (48, 40), (64, 40), (40, 80), (64, 64), (90, 60), (61, 40), (40, 41), (40, 62), (30, 60), (70, 70)]
BUCKETS = {"buckets": True, "bucket_step": 8}


def mixed(home: Path) -> list[dict[str, Any]]:
    """Rows of many proportions."""
    return [picture(home, n, size) for n, size in enumerate(SIZES)]


def draws(count: int, **more: Any) -> DeterministicSampler:
    rows = [{"image": str(n), "captions": ["a", "b"], "width": SIZES[n % 11][0], "height": SIZES[n % 11][1]}
            for n in range(count)]
    return DeterministicSampler(rows, 5, "", Buckets(32, 8).of, **more)


@pytest.mark.parametrize(("count", "size"), [(11, 4), (50, 4), (50, 7), (33, 3), (8, 8), (3, 16)])
def test_windows_hold_every_row_once_and_one_bucket_where_they_can(count: int, size: int) -> None:
    made, per_epoch = draws(count), -(-count // size)
    batches = list(islice(made.global_batches(size, 0), 3 * per_epoch + 5))
    pure = sum(n // size for n in Buckets(32, 8).count(made.rows).values())
    for epoch in range(3):
        own = [w for _, w in batches[epoch * per_epoch : (epoch + 1) * per_epoch]]
        assert sorted(int(s.row["image"]) for w in own for s in w) == list(range(count))
        assert sorted(s.position for w in own for s in w) == list(range(count))
        assert [len(w) for w in own] == [size] * (count // size) + [count % size] * (count % size > 0)
        assert sum(len({s.size for s in w}) == 1 and len(w) == size for w in own) >= pure
        assert all(made.rows[made.epoch(epoch)[s.position]] is s.row for w in own for s in w)
    assert list(islice(made.global_batches(size, per_epoch + 1), 4)) == batches[per_epoch + 1 : per_epoch + 5]


def test_the_order_of_windows_is_drawn_and_a_short_one_comes_last() -> None:
    made = draws(50)
    shapes = [[w[0].size for _, w in islice(made.global_batches(4, 13 * epoch), 13)] for epoch in range(4)]
    assert len({tuple(s) for s in shapes}) == 4


@pytest.mark.parametrize(("batch", "ranks"), [(8, 1), (2, 1), (2, 2), (1, 4), (3, 2)])
def test_micro_batches_hold_one_bucket_and_all_of_a_window(batch: int, ranks: int) -> None:
    for _, global_batch in islice(draws(50).global_batches(8, 0), 7):
        shares = [split_microbatches(global_batch, batch, rank, ranks) for rank in range(ranks)]
        assert len({len(s) for s in shares}) == 1
        dealt = [b for m in zip(*shares, strict=True) for b in m]
        assert all(len(b) <= batch and len({s.size for s in b}) <= 1 for b in dealt)
        assert sorted(s.position for b in dealt for s in b) == sorted(s.position for s in global_batch)


def test_a_dropped_caption_is_drawn_for_each_sample() -> None:
    made = draws(40, caption_dropout=0.3)
    captions = [[s.caption for _, w in islice(made.global_batches(8, 5 * e), 5) for s in w] for e in range(20)]
    share_ = sum(c.count("") for c in captions) / 800
    assert 0.25 < share_ < 0.35 and captions[0] != captions[1] and set(made.captions()) == {"", "a", "b"}
    assert set(draws(40).captions()) == {"a", "b"} and set(draws(40, caption_dropout=1.0).sample(
        draws(40).rows[0], 0, n).caption for n in range(9)) == {""}


def test_crop_variants_are_a_few_places_of_each_picture() -> None:
    made = draws(3, random_crops=True, crop_variants=4)
    seen = {s.crop for _, w in islice(made.global_batches(3, 0), 60) for s in w if s.row["image"] == "1"}
    listed = {s.crop for s in made.variants() if s.row["image"] == "1"}
    assert seen == listed and len(listed) == 4 and len(made.variants()) == 12


def test_pictures_of_a_window_are_what_any_split_of_it_learns(make: Make, home: Path) -> None:
    curves = []
    for batch, accumulation in ((4, 1), (2, 2), (1, 4)):
        run = make(rows=mixed(home), data=BUCKETS, sample={"every_steps": 0},
                   train={"batch_size": batch, "gradient_accumulation_steps": accumulation})
        assert train(run) == "finished", told(run, "end")
        assert [e["pictures"] for e in told(run, "step")] == [4, 4, 3, 4, 4, 3, 4, 4]
        curves.append(torch.tensor([e["loss"] for e in told(run, "step")]))
    assert torch.allclose(curves[0], curves[1], rtol=1e-5) and torch.allclose(curves[0], curves[2], rtol=1e-5)


ALL = {**BUCKETS, "random_flip": True, "caption_dropout": 0.3}


@pytest.mark.parametrize("data", [
    ALL, {**ALL, "center_crop": False}, {**ALL, "center_crop": False, "crop_variants": 2},
    {**ALL, "bucket_no_upscale": True, "resolution": 64}])
def test_kill_and_resume_with_any_number_of_workers(make: Make, home: Path, data: dict[str, Any]) -> None:
    train_ = {"gradient_accumulation_steps": 2}
    whole, killed = (make(rows=mixed(home), data=data, train=train_, sample={"every_steps": 0},
                          compute={"num_workers": workers}) for workers in (0, 2))
    assert train(whole) == "finished", told(whole, "end")
    assert child(killed, "step:5").returncode == -signal.SIGKILL
    assert train(killed) == "finished" and told(killed, "resumed")[0]["from_step"] == 3
    assert curve(killed) == curve(whole) and len(curve(whole)) == 8
    assert fingerprint(killed, 8) == fingerprint(whole, 8)
    live = not data.get("center_crop", True) and not data.get("crop_variants")
    assert ("not_cached" in [e["code"] for e in told(whole, "warning")]) is live


def test_cached_crops_are_those_encoded_live(make: Make, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache holds what encoding at the step would give: the same run with every entry made anew."""
    from studio.train.batches.cache import CachedPictures

    data = {**ALL, "center_crop": False, "crop_variants": 2}
    cached, live = (make(rows=mixed(home), data=data, sample={"every_steps": 0}) for _ in range(2))
    assert train(cached) == "finished"
    monkeypatch.setattr(CachedPictures, "__call__", lambda self, sample: self.encoders.image(
        self.image_transform.pixels(self.path_of(sample.row), sample)))
    assert train(live) == "finished"
    assert curve(live) == curve(cached)
