"""All open connections of a server, and which of them gives way when there are too many.

At the cap the one that waits longest for its own other side gives way, so that whoever comes next is served: first
those without a complete request, then the slowest bodies, then the answers that stand still, then streams of events. A
request that the studio is working on is never dropped.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from studio.web.middleware.capacity import Limits

if TYPE_CHECKING:
    from studio.web.middleware.connections import LimitedProtocol

SWEEP_SECONDS = 1.0
LINE_SECONDS = 0.2  # for which the order of those that give way is kept: a flood comes in hundreds at once


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
class _EvictionOrder:
    """Connections of one phase in the order in which they give way, as it was at the time `since`."""

    since: float
    phase: Phase
    waiting: deque[LimitedProtocol]
    came: deque[LimitedProtocol] = field(default_factory=deque)  # since then: as long as they ask nothing they go first


class Pool:
    """All open connections of a server; nothing in here waits, since the event loop calls it."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.open: set[LimitedProtocol] = set()
        self._addresses: Counter[str] = Counter()
        self._lines: dict[str, _EvictionOrder] = {}  # by address: who goes next
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, connection: LimitedProtocol, loop: asyncio.AbstractEventLoop) -> bool:
        """Take a new connection in, and let another go where there are too many; False when all are at work."""
        address = connection.address
        crowded = self._crowded(address)
        if crowded is not None and not self._make_room(crowded, loop.time()):
            return False
        self.open.add(connection)
        self._addresses[address] += 1
        for whose, line in self._lines.items():
            if whose in ("", address):
                line.came.append(connection)
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        return True

    def _crowded(self, address: str) -> str | None:
        """Of whom one has to go before another connection of `address` comes: of it, or of anybody (""); or nobody."""
        most = self.limits.of_an_address
        if most is not None and self._addresses[address] >= most:
            return address
        if len(self.open) >= self.limits.connections:
            return ""
        return None

    def leave(self, connection: LimitedProtocol) -> None:
        """Forget a connection that has ended."""
        if connection not in self.open:
            return
        address = connection.address
        self.open.remove(connection)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def relieve(self, now: float) -> None:
        """Drop readers that take nothing, the longest at it first, until what waits for all of them fits."""
        waiting = sum(connection.unsent for connection in self.open)
        if waiting <= self.limits.unsent:
            return
        readers = [connection for connection in self.open if connection.unsent]
        readers.sort(key=lambda reader: reader.held_since(now))
        for reader in readers:
            waiting -= reader.unsent
            reader.drop()
            if waiting <= self.limits.unsent:
                return

    def _make_room(self, address: str, now: float) -> bool:
        """Drop one connection of an address, of any for ""; False when there is none that may be dropped."""
        line = self._lines.get(address)
        if line is not None and now - line.since <= LINE_SECONDS and self._drop_first(line):
            return True
        self._lines.clear()
        line = self._lines[address] = self._line(address, now)
        return self._drop_first(line)

    def _drop_first(self, line: _EvictionOrder) -> bool:
        """Drop the first of a line that is still at no more than it was; False when nobody is left in it."""
        while line.waiting or line.came:
            if line.came and (line.phase > Phase.HEAD or not line.waiting):
                first = line.came.popleft()
                latest = Phase.HEAD
            else:
                first = line.waiting.popleft()
                latest = line.phase
            if first in self.open and first.phase <= latest:
                first.drop()
                self.leave(first)
                return True
        return False

    def _line(self, address: str, now: float) -> _EvictionOrder:
        """Those of the earliest phase that there is, the first to go in front."""
        by_phase: defaultdict[Phase, list[LimitedProtocol]] = defaultdict(list)
        for connection in self.open:
            if address in ("", connection.address):
                by_phase[connection.phase].append(connection)
        earliest = min(by_phase, default=Phase.WORKING)
        if earliest is Phase.WORKING:
            return _EvictionOrder(now, earliest, deque())
        waiting = by_phase[earliest]
        waiting.sort(key=lambda connection: connection.patience(earliest, now))
        return _EvictionOrder(now, earliest, deque(waiting))

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """About once a second: end those whose time is up, as long as any are open."""
        now = loop.time()
        self._lines = {whose: line for whose, line in self._lines.items() if now - line.since <= LINE_SECONDS}
        for connection in list(self.open):
            connection.look(now)
        self.relieve(now)
        self._timer = None
        if self.open:
            self._timer = loop.call_later(SWEEP_SECONDS, self._sweep, loop)
