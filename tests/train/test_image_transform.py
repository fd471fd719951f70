"""How a picture becomes what the model sees: torchvision's geometry, PIL's filters, and what is told of the crop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from studio.train.batches.sampler import ImageTransform, Sample

FILTERS = ("lanczos", "bicubic", "bilinear", "box", "hamming", "nearest")
SIZES = [(40, 40), (64, 40), (40, 64), (33, 60), (100, 31), (31, 100), (32, 32), (128, 96), (97, 61), (17, 23),
         (200, 150), (48, 47)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, paths = tmp_path_factory.mktemp("pictures"), []
    for width, height in SIZES:
        pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        paths.append(folder / f"{width}x{height}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def sample(size: tuple[int, int], flip: bool = False, place: tuple[float, float] = (0.5, 0.5), **row: Any) -> Sample:
    return Sample(row, 0, 0, "", flip, place, size)


def by_hand(path: Path, size: tuple[int, int], resampling: str, flip: bool, place: tuple[float, float]) -> torch.Tensor:
    """PIL and numpy alone."""
    image, (wide, high) = Image.open(path), size
    width, height = image.size
    covering = (wide, max(high, int(wide * height / width))) if width * high <= height * wide else (
        max(wide, int(high * width / height)), high)
    image = image.resize(covering, getattr(Image.Resampling, resampling.upper()))
    top, left = round((covering[1] - high) * place[0]), round((covering[0] - wide) * place[1])
    levels = np.asarray(image.crop((left, top, left + wide, top + high)), dtype=np.float32)
    levels = np.ascontiguousarray((levels[:, ::-1] if flip else levels).transpose(2, 0, 1))
    return torch.from_numpy(levels)[None] / 127.5 - 1


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("resampling", FILTERS)
def test_pixels_are_those_of_pil_to_the_bit(pictures: list[Path], resampling: str, flip: bool) -> None:
    for path in pictures:
        for size, place in (((32, 32), (0.5, 0.5)), ((48, 24), (0.25, 0.75))):
            found = ImageTransform(resampling).pixels(path, sample(size, flip, place))
            assert torch.equal(found, by_hand(path, size, resampling, flip, place)), (path.name, size)


def test_a_square_is_what_the_reference_scripts_transforms_make(pictures: list[Path]) -> None:
    from torchvision import transforms

    for name in ("lanczos", "bilinear"):
        theirs = transforms.Compose([
            transforms.Resize(32, interpolation=getattr(transforms.InterpolationMode, name.upper())),
            transforms.CenterCrop(32), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
        for path in pictures:
            ours = ImageTransform(name).pixels(path, sample((32, 32)))[0]
            assert torch.allclose(ours, theirs(Image.open(path)), atol=1e-6), path.name


@pytest.mark.parametrize(("size", "flip", "place", "row", "facts"), [
    ((1024, 1024), False, (0.5, 0.5), {}, (1200, 1600, 0, 170, 1024, 1024)),
    ((1152, 896), False, (0.5, 0.5), {}, (1200, 1600, 0, 21, 896, 1152)),
    ((832, 1216), False, (0.25, 0.75), {}, (1200, 1600, 0, 592, 1216, 832)),
    ((1024, 1024), True, (0.0, 1.0), {}, (1200, 1600, 0, 0, 1024, 1024)),  # the mirrored picture's left
    ((1024, 1024), True, (0.0, 0.0), {}, (1200, 1600, 0, 341, 1024, 1024)),
    ((1024, 1024), False, (0.5, 0.5), {"crop": [0, 0, 1000]}, (1000, 1000, 0, 0, 1024, 1024)),
])
def test_what_is_told_of_the_crop_is_that_of_the_picture_as_it_is_seen(
        size: tuple[int, int], flip: bool, place: tuple[float, float], row: dict[str, Any],
        facts: tuple[int, ...]) -> None:
    told = ImageTransform("lanczos").facts(sample(size, flip, place, width=1600, height=1200, **row))
    assert (*told["original_size"], *told["crop"], *told["target_size"]) == facts
