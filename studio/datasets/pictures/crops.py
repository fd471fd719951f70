"""The square of a picture that is trained on, [x, y, side] in the picture's pixels."""

from __future__ import annotations

from studio.datasets.schema import Row
from studio.messages import Message

MIN_CROP = 16  # pixels


def crop_lies_in(row: Row, crop: list[int]) -> bool:
    """Whether a square is large enough, and part of a row's picture."""
    x, y, side = crop
    return side >= MIN_CROP and 0 <= x <= row["width"] - side and 0 <= y <= row["height"] - side


def check(row: Row, crop: list[int]) -> None:
    """Return if the square lies in a row's picture. Raises ValueError."""
    if not crop_lies_in(row, crop):
        raise ValueError(Message("a crop [x, y, side] of at least {least} px must lie in the picture of {width} x "
                                 "{height} px, not at {crop}", least=MIN_CROP, width=row["width"],
                                 height=row["height"], crop=crop))
