"""How many connections are open, and how long each may take: uvicorn's HTTP/1.1 protocol with limits.

A connection is an open file of the server and some memory, whoever opened it and whether it ever asks for something.
So there is a cap on them, and time-outs for a head that does not end, a body that trickles, an answer that nobody
reads. At the cap the one that waits longest for its own other side gives way, so that whoever comes next is served:
first those without a complete request, then the slowest bodies, then the answers that stand still, then streams of
events. A request that the studio is working on is never dropped.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import IntEnum
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from studio.messages import Message
from studio.web.middleware.capacity import Limits

BACKLOG = 128  # connections that the system holds for us: as many are taken at once, before the cap is looked at
SWEEP_SECONDS = 1.0
LINE_SECONDS = 0.2  # for which the order of those that give way is kept: a flood comes in hundreds at once
MOST_HEAD = 32 * 1024  # bytes: a page's address may have a prompt in it
MOST_HEADERS = 100
READ_BYTES = 64 * 1024  # that are taken from the system at once
AHEAD_BYTES = 2 * READ_BYTES  # that a client may send while its request is worked on
BLOCK = 2048  # bytes of a chunked body that are parsed at once: each chunk costs as much as a page, and may be a byte
UNSENT_LOW = 64 * 1024  # bytes that wait in the system beside those under way: the rest waits here, where it is seen
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None)
_HEAD_ENDS = re.compile(rb"\n\r?\n")


class Phase(IntEnum):
    """What a connection is at, those that give way first in front."""

    CLOSING = 0  # what was still to be sent is not taken
    HEAD = 1  # no request, or a part of a head
    LINGERING = 2  # answered, while its body still comes
    BODY = 3
    HELD_UP = 4  # the reader takes nothing
    STREAM = 5  # of events: answered for as long as somebody listens
    WORKING = 6


@dataclass
class _Line:
    """Connections of one phase in the order in which they give way, as it was when it was made."""

    made: float
    phase: Phase
    waiting: deque[LimitedProtocol]
    came: deque[LimitedProtocol] = field(default_factory=deque)  # since then: as long as they ask nothing they go first


class Pool:
    """All open connections of a server."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.open: set[LimitedProtocol] = set()
        self._addresses: Counter[str] = Counter()
        self._lines: dict[str, _Line] = {}  # by address: who goes next
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, one: LimitedProtocol, loop: asyncio.AbstractEventLoop) -> bool:
        """Take a new connection in, and let another go where there are too many; False when all are at work."""
        address, most = one.address, self.limits.of_an_address
        crowded = None
        if most is not None and self._addresses[address] >= most:
            crowded = address
        elif len(self.open) >= self.limits.connections:
            crowded = ""
        if crowded is not None and not self._make_room(crowded, loop.time()):
            return False
        self.open.add(one)
        self._addresses[address] += 1
        for who, line in self._lines.items():
            if who in ("", address):
                line.came.append(one)
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        return True

    def leave(self, one: LimitedProtocol) -> None:
        """Forget a connection that has ended."""
        if one in self.open:
            self.open.remove(one)
            self._addresses[one.address] -= 1
            if not self._addresses[one.address]:
                del self._addresses[one.address]

    def relieve(self, now: float) -> None:
        """Drop readers that take nothing, the longest at it first, until what waits for all of them fits."""
        waiting = sum(one.unsent for one in self.open)
        if waiting <= self.limits.unsent:
            return
        for one in sorted((one for one in self.open if one.unsent), key=lambda one: one.held_since(now)):
            waiting -= one.unsent
            one.drop()
            if waiting <= self.limits.unsent:
                return

    def _make_room(self, address: str, now: float) -> bool:
        """Drop one connection of an address, of any for ""; whether there was one that may be dropped."""
        line = self._lines.get(address)
        if line is not None and now - line.made <= LINE_SECONDS and self._drop_first(line):
            return True
        self._lines.clear()
        line = self._lines[address] = self._line(address, now)
        return self._drop_first(line)

    def _drop_first(self, line: _Line) -> bool:
        """Drop the first of a line that is still at no more than it was; False when nobody is left in it."""
        while line.waiting or line.came:
            early = bool(line.came) and (line.phase > Phase.HEAD or not line.waiting)
            chosen = line.came.popleft() if early else line.waiting.popleft()
            if chosen in self.open and chosen.phase <= (Phase.HEAD if early else line.phase):
                chosen.drop()
                self.leave(chosen)
                return True
        return False

    def _line(self, address: str, now: float) -> _Line:
        """Those of the earliest phase that there is, the first to go in front."""
        phases = [(one.phase, one) for one in self.open if address in ("", one.address)]
        earliest = min((phase for phase, _ in phases), default=Phase.WORKING)
        waiting = [one for phase, one in phases if phase == earliest < Phase.WORKING]
        return _Line(now, earliest, deque(sorted(waiting, key=lambda one: one.patience(earliest, now))))

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._lines = {who: line for who, line in self._lines.items() if now - line.made <= LINE_SECONDS}
        for one in list(self.open):
            one.look(now)
        self.relieve(now)
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop) if self.open else None


class LimitedProtocol(H11Protocol):
    """One connection that keeps within the limits of its `pool`. The parser gets a head when it is complete, then its
    body, and what follows when the answer is on its way."""

    transport: _Finishing  # type: ignore[assignment]

    def __init__(self, pool: Pool, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pool, self.limits = pool, pool.limits
        self.address = ""
        self._since = self.loop.time()  # of what it waits for now
        self._coming = bytearray()  # not parsed yet
        self._searched = 0  # how much of it holds no end of a head
        self._body_left: int | None = 0  # bytes; None: it comes in chunks
        self._counted, self._received = self._since, 0  # bytes of the body since then
        self._moved, self._unsent = self._since, 0  # when and how much waited as the reader last took `least`
        self._refused = False
        self._turn = False  # whether the next block is parsed in the loop's next turn

    # ------------------------------------------------------------------------------------------- what the pool asks

    @property
    def phase(self) -> Phase:
        """What it is at."""
        cycle, body_comes = self.cycle, self.conn.their_state is h11.SEND_BODY
        if self.transport.is_closing():
            return Phase.CLOSING
        if self._refused:
            return Phase.LINGERING
        if cycle is None or cycle.response_complete:
            return Phase.LINGERING if body_comes else Phase.HEAD
        if self.flow.write_paused:
            return Phase.HELD_UP
        if body_comes and not self.flow.read_paused and not cycle.waiting_for_100_continue:
            return Phase.BODY
        return Phase.STREAM if self.scope["path"].endswith("/queue/data") else Phase.WORKING

    def patience(self, phase: Phase, now: float) -> float:
        """The smallest of a phase gives way: the oldest, the slowest body, the reader that stands still longest."""
        if phase is Phase.BODY:
            return self._received / max(1.0, now - self._counted)
        return self._moved if phase is Phase.HELD_UP else self._since

    @property
    def unsent(self) -> int:
        """Bytes that wait here for the reader."""
        return self.transport.get_write_buffer_size()

    def held_since(self, now: float) -> float:
        """Since when its reader has taken nothing to speak of; `now` for one who reads."""
        return self._moved if self.phase in (Phase.HELD_UP, Phase.CLOSING) else now

    def drop(self) -> None:
        """End it at once, whatever is under way."""
        self.transport.abort()

    def look(self, now: float) -> None:
        """End it when its time is up; called about once a second."""
        phase, waited = self.phase, now - self._since
        if phase in (Phase.CLOSING, Phase.HELD_UP):
            self._look_at_reader(now)
            return
        self._moved, self._unsent = now, self.unsent
        if phase is Phase.HEAD and self._coming and waited > self.limits.head:
            self._refuse(408, Message("The request did not come to its end in time."))
        elif ((phase is Phase.HEAD and waited > (self.limits.head if self.cycle is None else self.limits.keep_alive))
              or (phase is Phase.LINGERING and waited > self.limits.linger)):
            self.transport.real.close()
        elif phase is not Phase.BODY:
            self._counted, self._received = now, 0
        elif now - self._counted > self.limits.window:
            if self._received < self.limits.least:
                self.drop()
            self._counted, self._received = now, 0

    # ------------------------------------------------------------------------------------------- what uvicorn calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection."""
        super().connection_made(_Finishing(transport, self))  # type: ignore[arg-type]
        self.address = self.client[0] if self.client else ""
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
        self._searched, self._body_left = 0, 0
        self._give(ends.end())
        if self.conn.their_state is h11.SEND_BODY:
            named = dict(self.headers)
            self._body_left = None if b"transfer-encoding" in named else int(named[b"content-length"])
        self._counted, self._received = self.loop.time(), len(self._coming)
        return True

    def _look_at_reader(self, now: float) -> None:
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
        self._refused, self._since = True, self.loop.time()
        self._coming.clear()
        self.flow.resume_reading()
        self.transport.write_eof()


class _Finishing:
    """A transport whose `close`, which uvicorn calls when an answer is complete, is the protocol's `finish`."""

    def __init__(self, real: asyncio.Transport, protocol: LimitedProtocol):
        self.real, self.close = real, protocol.finish

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def _answer(status: int, code: str, message: str, hint: str, header: str = "") -> bytes:
    """An error of the API as it goes over the line, for those whom no route has heard."""
    body = json.dumps({"error": {"code": code, "message": message, "hint": hint}}).encode()
    return (f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n{header}\r\n").encode() + body
