"""How a person wants pictures brought in: what stands in for a missing caption, which column and encoding they have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from studio.datasets.pictures.pixels import WHITE
from studio.datasets.text import encodings
from studio.errors import StudioError
from studio.messages import Message

NAMES = ("nothing", "file name", "folder name")  # what a picture without a caption takes
LONGEST = 200  # characters of a column's name


class InvalidOptions(StudioError, ValueError):
    """A wish that cannot be met; the message is a sentence for a person."""


@dataclass(frozen=True)
class Options:
    """The colour that transparent parts are laid on (#rrggbb), what a picture without a caption takes (one of NAMES),
    the folders in which a table's absolute paths may lie, the columns of pictures' names and of captions where they are
    not to be guessed, and the encoding of caption files that is not to be guessed. The stored pictures may take `room`
    bytes (None: any), else nothing is kept and the report says `no_room`. Raises InvalidOptions."""

    background: str = WHITE
    caption_from: str = "nothing"
    roots: tuple[Path, ...] = ()
    room: int | None = None
    no_room: str = ""
    image_column: str | None = None
    caption_column: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.background):
            raise InvalidOptions(Message("The background {colour} is no colour: write it as #rrggbb, such as #ffffff.",
                                         colour=repr(self.background[:40])))
        if self.caption_from not in NAMES:
            raise InvalidOptions(Message("Captions cannot be taken from {name}; there are: {names}.",
                                         name=repr(self.caption_from[:40]), names=", ".join(NAMES)))
        for name in (self.image_column, self.caption_column):
            if name is not None and len(name) > LONGEST:
                raise InvalidOptions(Message("{name} is no column's name: it has more than {most} characters.",
                                             name=repr(name[:40]), most=LONGEST))
        if self.encoding is not None and self.codec is None:
            known = ", ".join(map(encodings.name_of, encodings.KNOWN))
            raise InvalidOptions(Message("There is no encoding {name}; there are: {names}.",
                                         name=repr(self.encoding[:40]), names=known))

    @property
    def codec(self) -> str | None:
        """Python's name of the encoding."""
        return encodings.codec_of(self.encoding) if self.encoding is not None else None
