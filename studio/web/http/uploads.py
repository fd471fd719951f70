"""Multipart uploads written straight to disk, one file at a time, however many there are."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from studio import storage
from studio.messages import Message
from studio.web.http.errors import TooLarge, WebError
from studio.web.settings import GIB, Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELD_BYTES = 64 * 1024  # of a text beside the files
MOST_FIELDS = 32
MOST_TYPE = 1000  # characters of a content type
SPARE_BYTES = GIB // 2
LOOK_BYTES = 16 << 20  # after so many more bytes of an upload without a length the disk is looked at again


class Upload:
    """What one request brought: text fields, and files as (relative name, path) in a folder of their own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.fields: dict[str, str] = {}
        self.files: list[tuple[str, Path]] = []

    def remove(self) -> None:
        """Delete the files."""
        storage.clear(self.folder)


async def receive(request: Request, settings: Settings, received: Callable[[int], None]) -> Upload:
    """The request's multipart body on disk under home/cache/uploads. Raises WebError; nothing is left then.

    `received` is told how many bytes have come so far, and may refuse more."""
    boundary = _boundary(request)
    room = _SpaceReservation(settings, length(request))
    folder = settings.home / "cache" / "uploads" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    upload = Upload(folder)
    sink = _Sink(upload, settings)
    try:
        parser = MultipartParser(boundary, sink.callbacks())
        async for chunk in request.stream():
            room.take(len(chunk))
            received(room.total)
            await run_in_threadpool(parser.write, chunk)
        parser.finalize()
        if not sink.ended:
            raise WebError(Message("The upload broke off before its end."), Message("Send it again."))
    except BaseException as error:
        sink.close()
        await run_in_threadpool(upload.remove)
        if isinstance(error, FormParserError | ClientDisconnect):
            raise WebError(Message("The upload could not be read to its end."), Message("Send it again.")) from None
        raise
    finally:
        room.leave()
    return upload


def length(request: Request) -> int | None:
    """How many bytes a request says its body has; None where it does not."""
    text = request.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit():
        return None
    return int(text)


def _boundary(request: Request) -> bytes:
    """What parts the body, from its type. Raises WebError."""
    kind, options = parse_options_header(request.headers.get("content-type", "")[:MOST_TYPE])
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise WebError(Message("Pictures are sent as multipart/form-data."),
                       Message("Send a field `name` and one or more `files`."))
    return boundary


class _SpaceReservation:
    """What one upload may take of the disk, beside what others are bringing at the same time."""

    promised: ClassVar[dict[int, int]] = {}  # bytes that are still to come, by upload

    def __init__(self, settings: Settings, length: int | None):
        self.settings = settings
        self.length = length
        self.total = self._looked_at = 0  # bytes
        self._look(length or 0)
        self.promised[id(self)] = length or 0

    def take(self, count: int) -> None:
        """So many more bytes have come. Raises TooLarge."""
        self.total += count
        self.promised[id(self)] = max(0, (self.length or 0) - self.total)
        if self.total > self.settings.upload_bytes:
            self._refuse()
        if self.length is None and self.total - self._looked_at > LOOK_BYTES:
            self._looked_at = self.total
            self._look(LOOK_BYTES)

    def leave(self) -> None:
        """The upload is here, or refused."""
        self.promised.pop(id(self), None)

    def _look(self, count: int) -> None:
        if count > self.settings.upload_bytes:
            self._refuse()
        storage.writable(self.settings.home)
        if count + sum(self.promised.values()) + SPARE_BYTES > storage.free_bytes(self.settings.home):
            raise TooLarge(Message("The disk of the studio has not enough room for this upload."),
                           Message("Free space on it, or send fewer pictures."), code="disk_full")

    def _refuse(self) -> None:
        raise TooLarge(Message("That is more than the {size:.0f} GB the studio takes in one upload.",
                               size=self.settings.upload_bytes / GIB), Message("Send the pictures in several parts."))


class _Sink:
    """Receives the parser's calls; called in a thread, since it writes files."""

    def __init__(self, upload: Upload, settings: Settings):
        self.upload = upload
        self.limit = settings.upload_files
        self.ended = False
        self._headers: dict[bytes, bytes] = {}  # of the part that comes
        self._key = self._value = b""  # of the header that comes
        self._file: BinaryIO | None = None  # where the part goes, if it is one of a file
        self._fields = 0
        self._field = ""
        self._text = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        """The parser's table of calls."""
        return {"on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._part_end,
                "on_header_field": self._header_field, "on_header_value": self._header_value,
                "on_header_end": self._header_end, "on_headers_finished": self._start, "on_end": self._end}

    def close(self) -> None:
        """Close a file that was being written."""
        if self._file:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._headers = {}
        self._key = self._value = b""
        self._text = bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._key.lower()] = self._value
        self._key = self._value = b""

    def _start(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            return
        if len(self.upload.files) >= self.limit:
            raise TooLarge(Message("More than {count:,} files in one upload.", count=self.limit),
                           Message("Pack them into a zip, or send parts."))
        path = self.upload.folder / f"{len(self.upload.files):06d}"
        self._file = open(path, "wb")  # noqa: SIM115 - open until the part ends, in another call
        name = _relative(options[b"filename"].decode("utf-8", "replace"))
        if name:  # else it is written and forgotten
            self.upload.files.append((name, path))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            self._file.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > FIELD_BYTES:
            raise TooLarge(Message("A text field of the upload is too long."), Message("Send pictures as files."))

    def _part_end(self) -> None:
        if self._file:
            self.close()
            return
        self._fields += 1
        if self._fields > MOST_FIELDS:
            raise TooLarge(Message("The upload has too many text fields."), Message("Send pictures as files."))
        self.upload.fields[self._field] = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True


def _relative(name: str) -> str:
    """A sent file name as a harmless relative one: no root, no `..`, no control characters, at most 500 characters.

    Browsers write a double quote and the line ends in a name as %22, %0D and %0A."""
    name = name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "".join(map(_printable, "/".join(parts)))[-500:]


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return "_"


def sweep(home: Path, keep_newer_than: float) -> None:
    """Remove upload folders older than a moment (unix seconds): what a killed server left behind."""
    folder = home / "cache" / "uploads"
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.stat().st_mtime < keep_newer_than:
            storage.clear(path)
