"""How many connections are open, and how long each may take: uvicorn's HTTP/1.1 protocol with limits.

A connection is an open file of the server and some memory, whoever opened it and whether it ever asks for something.
So there is a cap on them, and time-outs for a head that does not end, a body that trickles, an answer that nobody
reads. Which connection gives way at the cap: pool.py.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from studio.messages import JsonObject, Message
from studio.web.middleware.pool import Phase, Pool

BACKLOG = 128  # connections that the system holds for us: as many are taken at once, before the cap is looked at
MOST_HEAD = 32 * 1024  # bytes: a page's address may have a prompt in it
MOST_HEADERS = 100
READ_BYTES = 64 * 1024  # that are taken from the system at once
AHEAD_BYTES = 2 * READ_BYTES  # that a client may send while its request is worked on
BLOCK = 2048  # bytes of a chunked body that are parsed at once: each chunk costs as much as a page, and may be a byte
UNSENT_LOW = 64 * 1024  # bytes that wait in the system beside those under way: the rest waits here, where it is seen
_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", {"linux": 25}.get(sys.platform))
_HEAD_ENDS = re.compile(rb"\n\r?\n")


class LimitedProtocol(H11Protocol):
    """One connection that keeps within the limits of its `pool`. The parser gets a head when it is complete, then its
    body, and what follows when the answer is on its way."""

    transport: _Finishing  # type: ignore[assignment]

    def __init__(self, pool: Pool, config: Config, server_state: ServerState, app_state: JsonObject,
                 _loop: asyncio.AbstractEventLoop | None = None):
        super().__init__(config, server_state, app_state, _loop)
        self.pool = pool
        self.limits = pool.limits
        self.address = ""
        self._since = self.loop.time()  # of what it waits for now
        self._coming = bytearray()  # not parsed yet
        self._searched = 0  # how much of it holds no end of a head
        self._body_left: int | None = 0  # bytes; None: it comes in chunks
        self._received, self._counted = 0, self._since  # bytes of the body, and since when they are counted
        self._unsent, self._moved = 0, self._since  # how much waited as the reader last took `least`, and when
        self._refused = False
        self._turn = False  # whether the next block is parsed in the loop's next turn

    # ------------------------------------------------------------------------------------------- what the pool asks

    @property
    def phase(self) -> Phase:
        """What it is at."""
        if self.transport.is_closing():
            return Phase.CLOSING
        if self._refused:
            return Phase.LINGERING
        body_comes = self.conn.their_state is h11.SEND_BODY
        if self.cycle is None or self.cycle.response_complete:
            if body_comes:
                return Phase.LINGERING
            return Phase.HEAD
        if self.flow.write_paused:
            return Phase.HELD_UP
        if body_comes and not self.flow.read_paused and not self.cycle.waiting_for_100_continue:
            return Phase.BODY
        if self.scope["path"].endswith("/queue/data"):
            return Phase.STREAM
        return Phase.WORKING

    def patience(self, phase: Phase, now: float) -> float:
        """The smallest of a phase gives way: the oldest, the slowest body, the reader that stands still longest."""
        if phase is Phase.BODY:
            return self._received / max(1.0, now - self._counted)
        if phase is Phase.HELD_UP:
            return self._moved
        return self._since

    @property
    def unsent(self) -> int:
        """Bytes that wait here for the reader."""
        return self.transport.get_write_buffer_size()

    def held_since(self, now: float) -> float:
        """Since when its reader has taken nothing to speak of; `now` for one who reads."""
        if self.phase in (Phase.HELD_UP, Phase.CLOSING):
            return self._moved
        return now

    def drop(self) -> None:
        """End it at once, whatever is under way."""
        self.transport.abort()

    def look(self, now: float) -> None:
        """End it when its time is up; called about once a second."""
        phase = self.phase
        if phase in (Phase.CLOSING, Phase.HELD_UP):
            self._look_at_reader(now)
            return
        self._moved, self._unsent = now, self.unsent
        if phase is Phase.BODY:
            self._look_at_body(now)
        elif phase is Phase.HEAD and self._coming and now - self._since > self.limits.head:
            self._refuse(408, Message("The request did not come to its end in time."))
        elif now - self._since > self._idle_limit(phase):
            self.transport.real.close()
        else:
            self._counted, self._received = now, 0

    def _idle_limit(self, phase: Phase) -> float:
        """The seconds for which a connection that asks nothing stays open; infinite while a request is answered."""
        if phase is Phase.LINGERING:
            return self.limits.linger
        if phase is not Phase.HEAD:
            return math.inf
        if self.cycle is None:  # it has asked nothing yet
            return self.limits.head
        return self.limits.keep_alive

    # ------------------------------------------------------------------------------------------- what uvicorn calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection."""
        super().connection_made(_Finishing(transport, self))  # type: ignore[arg-type]
        if self.client:
            self.address = self.client[0]
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # of asyncio's own transports: 256 kB otherwise
        plain = transport.get_extra_info("socket")
        if plain is not None and _NOTSENT_LOWAT is not None and plain.family in (socket.AF_INET, socket.AF_INET6):
            plain.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, UNSENT_LOW)
        if not self.pool.enter(self, self.loop):
            transport.write(_answer(503, "busy", Message("The studio is busy with other requests."),
                                    Message("Try again in a few seconds."), "retry-after: 5\r\n"))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.pool.leave(self)
        self._coming.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body."""
        if self._refused or self.transport.is_closing():
            return
        if self.phase is Phase.HEAD and not self._coming:
            self._since = self.loop.time()
        self._unset_keepalive_if_required()
        self._received += len(data)
        self._coming += data
        self._feed()

    def on_response_complete(self) -> None:
        """The whole answer is on its way."""
        self._since = self.loop.time()
        super().on_response_complete()
        self._feed()

    def pause_writing(self) -> None:
        """The reader is slower than the answer."""
        self._moved, self._unsent = self.loop.time(), self.unsent
        super().pause_writing()
        self.pool.relieve(self.loop.time())

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(400, Message("This is no HTTP request that can be read."))

    def finish(self) -> None:
        """Close once the answer is read: who still sends a body would be cut off before they read it."""
        if self.conn.their_state is h11.SEND_BODY and not self._refused:
            self._stop_reading()
        else:
            self.transport.real.close()

    def _should_upgrade(self) -> bool:
        return False  # no websocket is spoken here, and none is worth a line in the log

    # ------------------------------------------------------------------------------------------- inside

    def _feed(self) -> None:
        """Give the parser what it may have of what came."""
        while self._coming and not (self._turn or self._refused or self.transport.is_closing()):
            if self.conn.their_state is h11.SEND_BODY:
                self._give_body()
            elif self.conn.their_state is not h11.IDLE:  # of a request to come, while this one is answered
                self.flow.pause_reading()
                if len(self._coming) > AHEAD_BYTES:
                    self.drop()
                return
            elif not self._give_head():
                return

    def _give_body(self) -> None:
        if self._body_left is not None:
            self._give(min(self._body_left, len(self._coming)))
            return
        self._give(BLOCK)
        if self._coming:
            self._turn = True
            self.flow.pause_reading()
            self.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn = False
        self._feed()

    def _give(self, count: int) -> None:
        block = bytes(self._coming[:count])
        del self._coming[:count]
        if self._body_left is not None:
            self._body_left = max(0, self._body_left - len(block))
        super().data_received(block)

    def _give_head(self) -> bool:
        """Whether there was a complete head to give."""
        ends = _HEAD_ENDS.search(self._coming, self._searched, MOST_HEAD)
        if ends is None:
            self._searched = max(0, len(self._coming) - 3)
            if len(self._coming) >= MOST_HEAD:
                self._refuse(431, Message("The request's head is too large."))
            elif not 0x21 <= self._coming[0] < 0x7F:  # an encrypted connection, for one
                self._refuse(400, Message("This is no HTTP request that can be read."))
            return False
        if self._coming.count(b"\n", 0, ends.end()) > MOST_HEADERS + 2:
            self._refuse(431, Message("The request's head has too many lines."))
            return False
        self._searched = 0
        self._body_left = 0
        self._give(ends.end())
        if self.conn.their_state is h11.SEND_BODY:
            headers = dict(self.headers)
            if b"transfer-encoding" in headers:
                self._body_left = None
            else:
                self._body_left = int(headers[b"content-length"])
        self._counted, self._received = self.loop.time(), len(self._coming)
        return True

    def _look_at_body(self, now: float) -> None:
        """Drop a body of which too little came in a `window`; then a new one begins."""
        if now - self._counted <= self.limits.window:
            return
        if self._received < self.limits.least:
            self.drop()
        self._counted, self._received = now, 0

    def _look_at_reader(self, now: float) -> None:
        """Drop a reader who took too little in a `window`."""
        if abs(self.unsent - self._unsent) >= self.limits.least:
            self._moved, self._unsent = now, self.unsent
        elif now - self._moved > self.limits.window:
            self.drop()

    def _refuse(self, status: int, message: str) -> None:
        """Answer what cannot be a request, where an answer is still open, and take nothing more."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_answer(status, "bad_request", message, Message("Correct it and send it again.")))
            self._stop_reading()
        else:
            self.transport.real.close()

    def _stop_reading(self) -> None:
        """Nothing more is said here; what still comes is passed over until the other side closes or `linger` ends."""
        self._refused = True
        self._since = self.loop.time()
        self._coming.clear()
        self.flow.resume_reading()
        self.transport.write_eof()


class _Finishing:
    """A transport whose `close`, which uvicorn calls when an answer is complete, is the protocol's `finish`."""

    def __init__(self, real: asyncio.Transport, protocol: LimitedProtocol):
        self.real = real
        self.close = protocol.finish

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def _answer(status: int, code: str, message: str, hint: str, header: str = "") -> bytes:
    """An error of the API as it goes over the line, for those whom no route has heard."""
    body = json.dumps({"error": {"code": code, "message": message, "hint": hint}}).encode()
    return (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n{header}\r\n").encode() + body
