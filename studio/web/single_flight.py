"""Answers that many viewers ask for at the same moment are made once, in a thread; the others wait for the same one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

Answer = TypeVar("Answer")
MOST = 16  # answers kept, the newest: what many ask for at once is of one moment


class SingleFlight:
    """Answers by a key that stands for everything they say: whatever changes them changes the key."""

    def __init__(self, most: int = MOST):
        self.most = most
        self._answers: OrderedDict[Hashable, asyncio.Future[Any]] = OrderedDict()  # under way, or there

    async def get(self, key: Hashable, make: Callable[[], Answer]) -> Answer:
        """The answer for `key`, from `make` where nobody asked for it yet. One that fails is asked for anew."""
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = asyncio.ensure_future(run_in_threadpool(make))
            answer.add_done_callback(lambda done: self._drop_failed(key, done))
            while len(self._answers) > self.most:
                self._answers.popitem(last=False)
        return await asyncio.shield(answer)  # a viewer who leaves takes nobody's answer away

    def _drop_failed(self, key: Hashable, done: asyncio.Future[Answer]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._answers.pop(key, None)
