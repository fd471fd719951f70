"""Pictures written as text, as tables have them: data: addresses and bare base64."""

from __future__ import annotations

import base64
import binascii
import re

_ADDRESS = re.compile(r"data:image/[\w.+-]{1,40}(;[\w=-]{1,40})*;base64,")
# How base64 of JPEG, PNG, GIF, WebP and BMP begins, and of what they must be made.
_BEGINNING = re.compile(r"(/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-3])[A-Za-z0-9+/\s]{60}")


def is_picture(text: str) -> bool:
    """Whether a text is a picture by its beginning."""
    return _ADDRESS.match(text) is not None or _BEGINNING.match(text) is not None


def is_coded(value: object) -> bool:
    """Whether the value of a table's field is a picture written as text."""
    return isinstance(value, str) and is_picture(value)


def decode(text: str) -> bytes | None:
    """The bytes of a picture in a text; None where it is none."""
    address = _ADDRESS.match(text)
    if address:
        text = text[address.end() :]
    elif not is_picture(text):
        return None
    bare = "".join(text.split())
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
