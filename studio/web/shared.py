"""Answers that many viewers ask for at the same moment are made once, in a thread; the others wait for the same one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from starlette.concurrency import run_in_threadpool

MOST = 16  # answers kept, the newest: what many ask for at once is of one moment


class Shared:
    """Answers by a key that stands for everything they say: whatever changes them changes the key."""

    def __init__(self, most: int = MOST):
        self.most = most
        self._made: OrderedDict[Hashable, asyncio.Future[Any]] = OrderedDict()

    async def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The answer for `key`, from `make` where nobody asked for it yet. One that fails is asked for anew."""
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = asyncio.ensure_future(run_in_threadpool(make))
            found.add_done_callback(lambda done: self._drop(key, done))
            while len(self._made) > self.most:
                self._made.popitem(last=False)
        return await asyncio.shield(found)  # a viewer who leaves takes nobody's answer away

    def _drop(self, key: Hashable, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._made.pop(key, None)
