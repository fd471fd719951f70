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


def decode(text: str) -> bytes | None:
    """The bytes of a picture in a text; None where it is none."""
    named = _ADDRESS.match(text)
    if named is None and _BEGINNING.match(text) is None:
        return None
    bare = "".join(text[named.end() if named else 0 :].split())
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
