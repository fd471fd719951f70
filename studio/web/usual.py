"""The usual time of the phase that a run or a job is in, from what its owner's earlier ones took; each asked once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import islice
from pathlib import Path

from studio.folders.work import Job, Work
from studio.insight import usual
from studio.system import machine
from studio.web.usage.index import Index

LOOKED_AT = 40  # works of one owner, newest first
REMEMBERED = 256


class Usual:
    """Called with work and the phase it is in; from several threads."""

    def __init__(self, index: Index):
        self.index = index
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, dict[str, float]] = OrderedDict()

    def __call__(self, work: Work, phase: str) -> float | None:
        """The seconds of all that it is in this phase, or None where nothing is known, or where a phase says itself
        how far it is."""
        if phase not in usual.TIMED:
            return None
        with self._lock:
            if work.path not in self._known:
                facts = machine.known_facts(self.index.home)
                self._known[work.path] = usual.seconds(work, self._earlier(work), facts)
                while len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            return self._known[work.path].get(phase)

    def _earlier(self, work: Work) -> list[Work]:
        """The owner's works of this sort: another person's are nobody's business."""
        owner = work.record()["owner"]
        every = self.index.jobs() if isinstance(work, Job) else self.index.all()
        dated = [(facts["created"], one) for one, facts in every if facts.get("owner") == owner]
        dated.sort(key=lambda entry: entry[0], reverse=True)
        return [one for _, one in islice(dated, LOOKED_AT)]
