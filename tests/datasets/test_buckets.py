"""Which bucket a picture falls into: near its proportions, of about the same area, and what limits that."""

from __future__ import annotations

import pytest

from studio.datasets.pictures.buckets import Buckets


def test_the_ladder_of_512_is_that_of_diffusers() -> None:
    from diffusers.training_utils import generate_aspect_ratio_buckets

    theirs = {(w, h) for h, w in generate_aspect_ratio_buckets(512, divisibility=64)}
    assert set(Buckets(512, 64).sizes()) == theirs
    assert set(Buckets(1024, 16).sizes()) == {(w, h) for h, w in generate_aspect_ratio_buckets(1024, 16)}


@pytest.mark.parametrize(("resolution", "step", "most"), [(512, 64, 4.0), (512, 8, 4.0), (768, 64, 2.0), (64, 8, 3.0)])
def test_sizes_are_multiples_of_about_the_same_area(resolution: int, step: int, most: float) -> None:
    sizes = Buckets(resolution, step, most).sizes()
    assert sizes[0] == (resolution, resolution) and len(sizes) == len(set(sizes)) > 3
    assert {(h, w) for w, h in sizes} == set(sizes)
    for width, height in sizes:
        assert width % step == height % step == 0
        assert (min(width, height) - step) ** 2 < resolution**2 < (max(width, height) + step) ** 2
        assert abs(width * height / resolution**2 - 1) < (width + height) * step / resolution**2


@pytest.mark.parametrize(("picture", "bucket"), [
    ((1000, 1000), (512, 512)), ((4000, 3000), (576, 448)), ((3000, 4000), (448, 576)), ((1920, 1080), (704, 384)),
    ((9000, 1000), (704, 384)), ((1000, 990), (512, 512))])
def test_a_picture_takes_the_nearest(picture: tuple[int, int], bucket: tuple[int, int]) -> None:
    assert Buckets(512).size(*picture) == bucket


def test_a_limit_of_one_is_the_square_and_a_crop_is_one_too() -> None:
    assert Buckets(512, most_aspect=1.0).sizes() == [(512, 512)]
    assert Buckets(512).size(4000, 1000, crop=[0, 0, 1000]) == (512, 512)


def test_without_upscale_a_small_picture_takes_a_smaller_bucket() -> None:
    large, small = Buckets(512), Buckets(512, upscale=False)
    assert large.size(300, 200) == (640, 448) or large.size(300, 200) == (640, 384)
    width, height = small.size(300, 200)
    assert width <= 300 and height <= 200 and width > height and width % 64 == height % 64 == 0
    assert small.size(3000, 2000) == large.size(3000, 2000) and small.size(20, 10) == (64, 64)


def test_counting_is_what_a_preview_shows() -> None:
    rows = [{"width": w, "height": h} for w, h in ((100, 100), (400, 300), (120, 90), (90, 120))]
    assert Buckets(512).count(rows) == {(576, 448): 2, (512, 512): 1, (448, 576): 1}
