"""What the decoding process and its callers share: messages of length-prefixed JSON, limits."""

from __future__ import annotations

import contextlib
import json
import resource
import struct
from typing import IO, Any

THUMB = 256  # pixels, the longer side of a thumbnail


def limit_memory(size: int) -> None:
    """Limit this process and its children to `size` bytes of address space, where the system can (macOS cannot)."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """The next message of a stream of length-prefixed JSON, or None where it ends."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    length = struct.unpack(">I", head)[0]
    data = stream.read(length)
    return json.loads(data) if len(data) == length else None


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message."""
    data = json.dumps(message).encode()
    stream.write(struct.pack(">I", len(data)) + data)
    stream.flush()
