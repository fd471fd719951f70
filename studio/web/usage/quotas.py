"""What one person may have at once where strangers sign in: asked before anything is received or made.

What is counted lies on disk; what is just being made is counted by a reservation, so that two requests at once do not
both slip through. Where there is one owner (`limits` is None) nothing is counted and nothing refused.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from studio import storage
from studio.folders import events
from studio.folders.runs import Run
from studio.messages import Message
from studio.web.access import Viewer
from studio.web.http.errors import WebError
from studio.web.settings import Limits
from studio.web.usage.bounds import EDITS_BYTES, MOST_DRAWN, MOST_EDITS, OPEN_REQUESTS
from studio.web.usage.index import Index
from studio.web.usage.people import People
from studio.web.usage.stored import DiskUsage, StorageUsage

RECENT = 20.0  # seconds for which a figure is good enough where little is made
VOTES_BYTES = 1 << 20  # of a run's votes
PRESET_BYTES = 64 << 10


class OverQuota(WebError):
    """A person has as much as they may have: what the limit is, what they have, and what to do next."""

    status, code = 429, "quota"


class ImportRoom(TypedDict, total=False):
    """What `datasets.Options` is told of a person's room."""

    room: int
    no_room: str


class WaitingCounts(TypedDict):
    """How many wait."""

    runs: int
    jobs: int


class KeptCounts(TypedDict):
    """How many are kept."""

    runs: int
    datasets: int


class Figures(TypedDict):
    """What a person's things take, in bytes (of all, by kind, of the trash), and how many they are."""

    bytes: int
    kinds: dict[str, int]
    trash: int
    waiting: WaitingCounts
    kept: KeptCounts


@dataclass(frozen=True)
class UploadAllowance:
    """The places and the room of an upload: `received` is told the bytes so far and refuses more, `close` ends it."""

    received: Callable[[int], None]
    close: Callable[[], None]


class Quotas:
    """The limits of one server, and what is being made just now."""

    def __init__(self, home: Path, limits: Limits | None, index: Index, stored: StorageUsage, people: People):
        self.home = home
        self.limits = limits
        self.index = index
        self.stored = stored
        self.people = people
        self.imports = _FairSemaphore(None)
        if limits is not None:
            self.imports = _FairSemaphore(limits.imports_of_all)
        self._lock = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # who counts, by person
        self._making: Counter[tuple[str, str]] = Counter()  # (owner, what) -> how many are being made
        self._coming: Counter[str] = Counter()  # owner -> bytes that are being received

    # ------------------------------------------------------------------------------------------------- counts

    @contextmanager
    def place(self, viewer: Viewer, *kinds: str) -> Iterator[None]:
        """A place for one more of each of these (RULES), for as long as it is being made. Raises OverQuota."""
        taken: list[str] = []
        try:
            for what in kinds:
                self.take(viewer, what)
                taken.append(what)
            yield
        finally:
            for what in taken:
                self.give_back(viewer, what)

    def take(self, viewer: Viewer, what: str) -> None:
        """As `place`, until `give_back`."""
        if self.limits is None:
            return
        self.people.met(viewer)
        most = getattr(self.limits, RULES[what])
        with self._lock:
            counting = self._locks[viewer.id]
        with counting:
            there = self._there(viewer.id, what)
            if there >= most:
                raise _refusal(what, there, most)
            with self._lock:
                self._making[viewer.id, what] += 1

    def give_back(self, viewer: Viewer, what: str) -> None:
        """The end of `take`. Waits for nothing, so that the event loop may call it."""
        if self.limits is None:
            return
        with self._lock:
            self._making[viewer.id, what] -= 1

    def ask(self, viewer: Viewer, *kinds: str) -> None:
        """Raise OverQuota where `place` would, and take nothing: before something is made on the way there."""
        with self.place(viewer, *kinds):
            pass

    def _there(self, owner: str, what: str) -> int:
        """How many a person has, with those being made."""
        making = self._making[owner, what]
        if what == "import":  # those of an earlier server go on, and are on disk alone
            return max(making, sum(map(_is_importing, self._sets(owner))))
        if what in ("run", "job"):
            return making + self._waiting(owner, what)
        if what == "draft":
            return making + sum(map(_is_draft, self._sets(owner)))
        if what == "data set":
            return making + len(self._sets(owner))
        return making + self._kept_runs(owner)

    def _waiting(self, owner: str, word: str) -> int:
        """How many runs, or jobs, of a person wait in the queue."""
        return sum(entry.owner == owner and entry.work.word == word for entry in self.index.waiting())

    def _kept_runs(self, owner: str) -> int:
        return sum(facts["owner"] == owner for _, facts in self.index.all())

    def _sets(self, owner: str) -> list[Path]:
        return [path for path, whose in self.stored.datasets() if whose == owner]

    # -------------------------------------------------------------------------------------------------- bytes

    def room(self, viewer: Viewer, within: float = 1.0) -> int | None:
        """How many bytes more a person may store; None for any number."""
        if self.limits is None:
            return None
        used = self.stored.of(viewer.id, within).bytes
        with self._lock:
            return self.limits.bytes - used - self._coming[viewer.id]

    def needs(self, viewer: Viewer, size: int = 1, within: float = 1.0) -> None:
        """Return if there is room for `size` bytes more. Raises OverQuota."""
        room = self.room(viewer, within)
        if room is not None and self.limits is not None and size > room:
            raise self.over(size, room)

    def little(self, viewer: Viewer) -> None:
        """As `needs`, for a change that takes a few kB: by a figure that is some seconds old."""
        self.needs(viewer, within=RECENT)

    def over(self, size: int, room: int) -> OverQuota:
        """What is said where `size` bytes do not fit into `room`."""
        limit = 0
        if self.limits:
            limit = self.limits.bytes
        hint = Message("Delete runs or data sets that you do not need any more; what lies in the trash does not count.")
        used = {"used": gb(limit - room), "limit": gb(limit)}
        if room <= 0:
            return OverQuota(Message("Your things take {used} of the {limit} that you may keep here: there is no room "
                                     "for more.", **used), hint)
        return OverQuota(Message("Your things take {used} of the {limit} that you may keep here, and this needs {size} "
                                 "more.", **used, size=gb(size)), hint)

    @contextmanager
    def receiving(self, viewer: Viewer, size: int | None) -> Iterator[Callable[[int], None]]:
        """Room for an upload of `size` bytes (None: it does not say), while it lies on the disk beside what it becomes.
        Yields what is told the bytes received so far, and refuses more. Raises OverQuota."""
        if self.limits is None:
            yield _take_any
            return
        with self._lock:
            counting = self._locks[viewer.id]
        with counting:
            room = self.room(viewer) or 0
            reserved = size
            if reserved is None:
                reserved = max(room, 1)
            if reserved > room:
                raise self.over(reserved, room)
            with self._lock:
                self._coming[viewer.id] += reserved

        def received(so_far: int) -> None:
            if so_far > reserved:
                raise self.over(so_far, room)

        try:
            yield received
        finally:
            with self._lock:
                self._coming[viewer.id] -= reserved
            self.stored.forget(viewer.id)

    def for_import(self, viewer: Viewer) -> ImportRoom:
        """How many bytes the pictures of an import may take, and what is said of more: {} for any number.

        An upload that they come from goes when they are there, so that what it takes is not counted beside them."""
        if self.limits is None:
            return {}
        room = max(0, self.limits.bytes - self.stored.of(viewer.id, 1.0).bytes)
        return {"room": room, "no_room": Message(
            "These pictures take more than the {room} that are left of the {limit} that you may keep here. Nothing of "
            "this import was kept: delete something, then import it again.", room=gb(room),
            limit=gb(self.limits.bytes))}

    def arriving(self, viewer: Viewer, size: int | None, *kinds: str) -> UploadAllowance:
        """Places for what an upload of `size` bytes becomes, and room for it. Raises OverQuota."""
        with ExitStack() as holds:
            holds.enter_context(self.place(viewer, *kinds))
            received = holds.enter_context(self.receiving(viewer, size))
            return UploadAllowance(received, holds.pop_all().close)
        raise AssertionError("an ExitStack swallows nothing")

    # ------------------------------------------------------------------------------------------------ others

    def request(self, run: Run) -> None:
        """Return if one more thing may be asked of a live run. Raises OverQuota."""
        if self.limits is None:
            return
        if len(run.requests()) >= OPEN_REQUESTS:
            raise OverQuota(Message("{count} requests wait for this run's next step already.", count=OPEN_REQUESTS),
                            Message("Wait until it has answered them."))

    def drawn(self, history: events.RunHistory) -> None:
        """Return if a run may draw one more picture on request. Raises OverQuota."""
        if self.limits is not None and len(history.samples) >= MOST_DRAWN:
            raise OverQuota(Message("This run has {count} sample pictures, and {most} are drawn at most.",
                                    count=len(history.samples), most=MOST_DRAWN),
                            Message("Draw with a checkpoint in the playground."))

    def edits(self, run: Run) -> None:
        """Return if a run may be changed once more. Raises OverQuota."""
        if self.limits is None:
            return
        size = (storage.stamp(run.edits_file) or (0, 0, 0))[2]
        if size > EDITS_BYTES or len(run.edits()) >= MOST_EDITS:
            raise OverQuota(Message("This run was changed {count} times, with {size} kB of settings: a run may have "
                                    "{most} changes and {room} kB of them here.", count=len(run.edits()),
                                    size=size // 1024, most=MOST_EDITS, room=EDITS_BYTES // 1024),
                            Message("Start a new run with the settings as they are now."))

    def votes(self, file: Path) -> None:
        """Return if a run's file of votes may grow. Raises OverQuota."""
        if self.limits is not None and file.exists() and file.stat().st_size > VOTES_BYTES:
            raise OverQuota(Message("This run has as many votes as are kept here."),
                            Message("Vote on a drawing of another run."))

    def preset(self, size: int) -> None:
        """Return if a preset of `size` bytes may be kept. Raises OverQuota."""
        if self.limits is not None and size > PRESET_BYTES:
            raise OverQuota(Message("A preset may have {most} kB here, and this one has {size} kB.",
                                    most=PRESET_BYTES // 1024, size=size // 1024), Message("Shorten its texts."))

    def figures(self, owner: str) -> Figures:
        """What a person has; of nobody ("") no bytes are counted."""
        use = DiskUsage()
        if owner:
            use = self.stored.of(owner, RECENT)
        return {"bytes": use.bytes, "kinds": use.kinds, "trash": use.trash,
                "waiting": {"runs": self._waiting(owner, "run"), "jobs": self._waiting(owner, "job")},
                "kept": {"runs": self._kept_runs(owner), "datasets": len(self._sets(owner))}}


class _FairSemaphore:
    """Lets so many imports work at once (None: any number); the others wait, and of them whoever has the least under
    way goes first."""

    def __init__(self, most: int | None):
        self.most = most
        self._changed = threading.Condition()
        self._busy: Counter[str] = Counter()
        self._waiting: dict[object, str] = {}  # in the order they came

    @contextmanager
    def through(self, owner: str, waits: Callable[[], None]) -> Iterator[None]:
        """A place, kept until the end of the `with`; `waits()` is called where there is none yet."""
        if self.most is None:
            yield
            return
        mark = object()
        with self._changed:
            self._waiting[mark] = owner
            if self._next() is not mark:
                waits()
            self._changed.wait_for(lambda: self._next() is mark)
            del self._waiting[mark]
            self._busy[owner] += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._busy[owner] -= 1
                self._changed.notify_all()

    def _next(self) -> object | None:
        """The mark of who may go through now, if anybody may."""
        if self.most is None or self._busy.total() >= self.most or not self._waiting:
            return None
        return min(self._waiting, key=self._under_way)

    def _under_way(self, mark: object) -> int:
        return self._busy[self._waiting[mark]]


def gb(size: int) -> str:
    """Bytes in words: 12.3 GB, or 4.5 MB."""
    if size >= 1e8:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB"


def _take_any(received: int) -> None:
    """As `UploadAllowance.received`, where there is no limit."""


def _is_importing(path: Path) -> bool:
    return storage.is_locked(path / "import.lock")


def _is_draft(path: Path) -> bool:
    """Whether a data set waits for its files, or its first import came to no end."""
    waits = (path / "incoming").is_dir() or not (path / "report.json").exists()
    if not waits or _is_importing(path):
        return False
    try:
        return not (storage.read_json(path / "report.json") or {}).get("imports")
    except (storage.Corrupt, AttributeError):
        return False


# What may be counted, and the field of `Limits` that says how many there may be.
RULES = {"run": "runs", "job": "jobs", "import": "imports", "draft": "drafts", "kept run": "kept", "data set": "kept"}


def _refusal(what: str, there: int, most: int) -> OverQuota:
    """What is said to who has as many of these (RULES) as they may have."""
    return OverQuota(*{
        "run": (Message("You have {there} runs waiting, and {most} may wait at once.", there=there, most=most),
                Message("Wait until one of them begins, or cancel one: the page Runs lists them.")),
        "job": (Message("You have {there} jobs waiting, and {most} may wait at once.", there=there, most=most),
                Message("Wait until one of them begins, or cancel one.")),
        "import": (Message("You have {there} imports under way, and {most} may be at once.", there=there, most=most),
                   Message("Wait until one of them has ended, or cancel one: the page Datasets lists them.")),
        "draft": (Message("You have {there} data sets that wait for their files, and {most} may at once.", there=there,
                          most=most), Message("Import their files, or delete one of them.")),
        "kept run": (Message("You have {there} runs, and {most} may be kept.", there=there, most=most),
                     Message("Delete runs that you do not need any more.")),
        "data set": (Message("You have {there} data sets, and {most} may be kept.", there=there, most=most),
                     Message("Delete data sets that you do not need any more.")),
    }[what])
