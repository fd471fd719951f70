"""Near copies: found by shape and colours together, over the shipped pictures, each with copies as people have them."""

from __future__ import annotations

import io
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from studio.datasets import health
from studio.datasets.pictures import measures
from studio.datasets.sample import FOLDER

PICTURES = sorted(FOLDER.rglob("*.webp"))
WANTED = health.TrainingGoal(resolution=64)


def recompressed(picture: Image.Image) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=50)
    return Image.open(out)


def cropped(picture: Image.Image) -> Image.Image:
    x, y = picture.width * 0.02, picture.height * 0.02
    return picture.crop((round(x), round(y), round(picture.width - x), round(picture.height - y)))


# Each with the share of the shipped pictures whose copy is found. They are hard ones: small things before plain white,
# where a crop or a brighter white moves most bits.
COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], float]] = {
    "recompressed": (recompressed, 1.0),
    "half the size": (lambda p: p.resize((p.width // 2, p.height // 2)), 1.0),
    "twice the size": (lambda p: p.resize((p.width * 2, p.height * 2)), 1.0),
    "cropped": (cropped, 0.95),
    "brighter": (lambda p: ImageEnhance.Brightness(p).enhance(1.15), 0.95),
    "darker": (lambda p: ImageEnhance.Brightness(p).enhance(0.85), 0.95),
    "more contrast": (lambda p: ImageEnhance.Contrast(p).enhance(1.2), 0.95),
}


def found(folder: Path, pictures: dict[str, Image.Image]) -> list[set[str]]:
    """The groups of near copies among them, by the door that the page uses."""
    rows: list[dict[str, Any]] = []
    measured = {}
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        picture.convert("RGB").save(path)
        measured[name] = {"image": name, **measures.of(path)}
        rows.append({"image": name, "pid": name, "width": picture.width, "height": picture.height, "captions": [name],
                     "split": "train", "name": name})
    findings = [f for f in health.examine(rows, measured, WANTED) if f.code == "near_duplicates"]
    return [set(group) for finding in findings for group in finding.groups]


def test_no_two_shipped_pictures_are_copies(tmp_path: Path) -> None:
    pictures = {path.stem: Image.open(path) for path in PICTURES}
    assert len(pictures) > 100 and found(tmp_path, pictures) == []


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found(tmp_path: Path, how: str) -> None:
    change, share = COPIES[how]
    pictures = {path.stem: Image.open(path).convert("RGB") for path in PICTURES}
    groups = found(tmp_path, pictures | {f"{name} copy": change(picture) for name, picture in pictures.items()})
    right = [group for group in groups if len(group) == 2 and len({name.removesuffix(" copy") for name in group}) == 1]
    assert len(right) >= share * len(pictures)
    assert len(groups) - len(right) <= 1, "pictures of different things taken for copies"


def test_one_shape_in_other_colours_is_no_copy(tmp_path: Path) -> None:
    red = Image.open(next(path for path in PICTURES if "angry-red-face" in path.name)).convert("RGB")
    r, g, b = red.split()
    assert found(tmp_path, {"red": red, "blue": Image.merge("RGB", (b, g, r))}) == []


def test_measures_without_colours_are_taken_again(tmp_path: Path) -> None:
    measures.add(tmp_path, "a", [{"image": "old", "dhash": "0" * 16, "blur": 0.5},
                                 {"image": "new", **measures.of(PICTURES[0])}])
    assert set(measures.known(tmp_path, "a")) == {"new"}


@pytest.mark.parametrize("alike", [True, False])
def test_many_pictures_of_one_shape_cost_little(alike: bool) -> None:
    """Thousands of flat pictures fit into a small zip: all are of one hash, and of one colour or none of another's."""
    shades = np.random.default_rng(1).integers(0, 256, (4000, 48), dtype=np.uint8)
    rows = [{"image": f"{n:064x}", "pid": f"{n:064x}", "width": 64, "height": 64, "captions": [str(n)],
             "split": "train", "name": str(n)} for n in range(len(shades))]
    measured = {row["image"]: {"dhash": "07" * 8, "colours": (b"d" * 48 if alike else shade.tobytes()).hex(),
                               "blur": 0.3} for row, shade in zip(rows, shades, strict=True)}

    def cost(count: int) -> tuple[float, int]:
        tracemalloc.start()
        began = time.process_time()
        groups = [f.groups for f in health.examine(rows[:count], measured, WANTED) if f.code == "near_duplicates"]
        spent, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert [len(group) for group in (groups[0] if groups else [])] == ([count] if alike else [])
        return spent, peak

    (once, _), (twice, peak) = cost(2000), cost(4000)
    assert peak < 30e6 and twice < 3 * once + 0.5, (once, twice, peak)
