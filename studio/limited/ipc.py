"""Messages between a limited process and whoever asks it: length-prefixed JSON on pipes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import IO, Any

from studio import messages

Received = dict[str, Any]  # JSON whose keys the two ends have agreed upon; any of them may be missing
MOST = 64 << 20  # bytes of a message; a limited process that was taken over must not fill the memory of who asks it


def receive(stream: IO[bytes], most: int = MOST) -> Received | None:
    """The next message, or None where the stream ends, or where a message is longer than `most` or is none."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    length = struct.unpack(">I", head)[0]
    if length > most:
        return None
    data = stream.read(length)
    if len(data) < length:
        return None
    try:
        message = messages.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def send(stream: IO[bytes], message: Mapping[str, object]) -> None:
    """Write one message."""
    data = json.dumps(messages.stored(message)).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()
