"""Answers with bytes: downloads with Range and ETag that never block the loop, and pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from studio import export
from studio.web.http.headers import names_tag

BLOCK = 256 * 1024  # bytes that wait in memory for a reader, and as many files may be open as there are readers
MOST_TAGS = 4000  # characters of the tags that a client knows
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")  # a longer number is no place in a file


class FileDownload:
    """A plain file as an item that `RangeResponse` can send."""

    def __init__(self, path: Path, media_type: str, filename: str | None = None):
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by close()
        self.size = self._file.seek(0, 2)
        stamp = f"{path.name}-{self.size}-{path.stat().st_mtime_ns}"
        self.etag = hashlib.sha256(stamp.encode()).hexdigest()[:32]
        self.filename = filename
        self.media_type = media_type

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, in blocks; fewer where the file was cut short."""
        self._file.seek(start)
        while start < stop:
            block = self._file.read(min(BLOCK, stop - start))
            if not block:
                return
            start += len(block)
            yield block

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RangeResponse(Response):
    """Sends an open item: 200, 206 for one range, 304, or 416; closes it whatever happens."""

    def __init__(self, request: Request, item: export.Download | FileDownload, cache: str = "private, no-cache",
                 attachment: bool = True):
        self.item = item
        self.background = None
        self.head = request.method == "HEAD"
        etag = f'"{item.etag.strip(chr(34))}"'
        self.start, self.stop, self.status_code = self._place(request, etag)
        headers = {"etag": etag, "accept-ranges": "bytes", "cache-control": cache, "content-type": item.media_type}
        if attachment and item.filename:
            headers["content-disposition"] = _disposition(item.filename)
        if self.status_code in (200, 206):
            headers["content-length"] = str(self.stop - self.start)
        if self.status_code == 206:
            headers["content-range"] = f"bytes {self.start}-{self.stop - 1}/{item.size}"
        if self.status_code == 416:
            headers.update({"content-range": f"bytes */{item.size}", "content-length": "0"})
        self.init_headers(headers)

    def _place(self, request: Request, etag: str) -> tuple[int, int, int]:
        """The bytes to send, from and up to, and the status that says so."""
        size = self.item.size
        if names_tag(request.headers.get("if-none-match", "")[:MOST_TAGS], etag):
            return 0, 0, 304
        asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
        if not asked or asked.groups() == ("", "") or request.headers.get("if-range", etag) != etag:
            return 0, size, 200
        first, last = asked.groups()
        start, stop = 0, size
        if not first:  # the last so many bytes
            start = max(0, size - int(last))
        else:
            start = int(first)
            if last:
                stop = min(size, int(last) + 1)
        if start >= stop:
            return 0, 0, 416
        return start, stop, 206

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if not self.head and self.status_code in (200, 206) and not await self._send_blocks(
                    Request(scope, receive), send):
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.item.close()

    async def _send_blocks(self, request: Request, send: Send) -> bool:
        """Send the bytes; False when nobody listens any more: a server drops what is sent to nobody without a word."""
        blocks = iter(self.item.read(self.start, self.stop))
        while block := await run_in_threadpool(next, blocks, b""):
            for place in range(0, len(block), BLOCK):
                if await request.is_disconnected():
                    return False
                part = block[place : place + BLOCK]
                await send({"type": "http.response.body", "body": part, "more_body": True})
        return True


def _disposition(filename: str) -> str:
    """A Content-Disposition: the name in plain letters for old clients, and as it is for the others."""
    plain = "".join(map(_plain_letter, filename))
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def _plain_letter(character: str) -> str:
    if character.isascii() and character.isprintable() and character not in '"\\':
        return character
    return "_"
