"""Eight pictures that are easily told apart, with their captions: `pictures.make(home)`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CAPTIONS = ("a red fox", "two blue birds", "green hills at noon", "an old map", "seven boats", "the night sky",
            "bread", "a white horse runs")


def array(number: int, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """A smooth field of colours (height, width, 3)."""
    field = np.random.default_rng(1000 + number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(field).resize(size, Image.Resampling.BICUBIC))


def make(home: Path, captions: tuple[str, ...] = CAPTIONS, size: tuple[int, int] = (32, 32)) -> list[dict[str, Any]]:
    """Rows whose pictures lie in the home, one for each caption."""
    rows = []
    for number, caption in enumerate(captions):
        pixels = array(number, size)
        name = hashlib.sha256(pixels.tobytes()).hexdigest()
        path = home / "images" / name[:2] / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        rows.append({"image": name, "ext": "png", "width": size[0], "height": size[1], "captions": [caption],
                     "split": "train", "name": f"{number}.png"})
    return rows
