"""What the API answers with, as shapes for its description; the tests hold real answers against them.

A shape names what is always there. Answers may have more: the API adds, and never renames.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

State = Literal["queued", "starting", "running", "stopping", "paused", "interrupted", "finished", "stopped",
                "cancelled", "failed", "diverged"]


class Problem(BaseModel):
    """One fault of a config."""

    field: str
    message: str


class Fault(BaseModel):
    """What went wrong, and what to do."""

    code: str
    message: str
    hint: str
    request_id: str | None = None
    problems: list[Problem] = []


class Error(BaseModel):
    """Every answer from status 400 on."""

    error: Fault


class Status(BaseModel):
    """What changes while a run lives."""

    state: State
    phase: str
    phase_done: int | None
    phase_total: int | None
    phase_unit: str | None
    step: int
    total_steps: int | None
    eta_seconds: float | None
    pictures_per_second: float | None
    loss: float | None
    lr: float | None
    queue_position: int | None
    actions: list[str]
    note: str | None


class Checkpoint(BaseModel):
    """One that is kept."""

    name: str
    step: int
    bytes: int | None


class Sample(BaseModel):
    """One sample picture."""

    step: int
    prompt: str
    weights: Literal["raw", "ema"]
    seed: int
    url: str


class Run(Status):
    """A run; in lists without its config."""

    id: str
    name: str
    owner: str
    created: float
    dataset: dict[str, Any] | None
    error: dict[str, Any] | None
    warnings: list[dict[str, Any]]
    checkpoints: list[Checkpoint]
    samples: list[Sample]
    config: dict[str, Any] | None = None


class Event(BaseModel):
    """Something that happened; ARCHITECTURE.md lists the kinds and their fields."""

    seq: int
    kind: str


class Events(Status):
    """A run's status, and its events after `since`; ask again with `since` = `next`."""

    events: list[Event]
    next: int
    last: int


class Job(BaseModel):
    """Long work that is no run."""

    id: str
    kind: str
    name: str
    state: State
    phase: str
    subject: str | None
    error: dict[str, Any] | None
    results: list[dict[str, Any]]


class Dataset(BaseModel):
    """Pictures with captions. `report` has the numbers seen, used and converted, and what was skipped."""

    id: str
    name: str
    state: str
    count: int
    report: dict[str, Any] | None = None
    waiting: int | None = None
    can_read_again: bool | None = None


class Arrived(BaseModel):
    """Files that wait to be imported, each {name, bytes}."""

    items: list[dict[str, Any]]


class File(BaseModel):
    """Something to take home; its `url` answers to Range."""

    path: str
    size: int
    kind: str
    weights: str | None
    step: int | None
    precision: str
    programs: list[str]
    url: str


class Usage(BaseModel):
    """What a person's things take, in bytes, and what they may have; of everybody for an administrator."""

    bytes: int
    kinds: dict[str, int]
    trash: int
    waiting: dict[str, int]
    kept: dict[str, int]
    limits: dict[str, int] | None
    people: list[dict[str, Any]] | None
    free_bytes: int | None


class Runs(BaseModel):
    """A page of them; the next one is asked for with `after` = `next`."""

    items: list[Run]
    next: str | None


class Jobs(BaseModel):
    """Newest first."""

    items: list[Job]


class Datasets(BaseModel):
    """The shipped one and one's own."""

    items: list[Dataset]


class Files(BaseModel):
    """Everything that can be downloaded now."""

    items: list[File]


class Deleted(BaseModel):
    """Something in the trash; removed for good at `gone_at`. `part_of` is the run or data set that it belongs to."""

    id: str
    kind: str
    subject: str
    name: str
    part_of: str | None
    deleted: float
    gone_at: float
    bytes: int
    restorable: bool


class Trash(BaseModel):
    """Newest first, and the bytes that emptying it gives back."""

    items: list[Deleted]
    bytes: int


class Emptied(BaseModel):
    """What was removed for good."""

    removed: int
    bytes: int


# What a route answers with, by the name of its handler; the status says what it made.
ANSWERS: dict[str, tuple[int, type[BaseModel]]] = {
    "list_runs": (200, Runs), "create_run": (201, Run), "get_run": (200, Run), "rename_run": (200, Run),
    "branch_run": (201, Run), "import_run": (201, Run), "control_run": (200, Run), "edit_run": (200, Run),
    "list_files": (200, Files), "get_events": (200, Events), "publish_run": (202, Job), "probe_run": (202, Job),
    "list_jobs": (200, Jobs),
    "get_job": (200, Job), "cancel_job": (200, Job), "list_datasets": (200, Datasets), "get_dataset": (200, Dataset),
    "create_dataset": (201, Dataset), "add_images": (201, Dataset), "commit_files": (201, Dataset),
    "read_again": (201, Dataset), "list_arrived": (200, Arrived),
    "rename_dataset": (200, Dataset), "push_dataset": (202, Job), "list_trash": (200, Trash),
    "restore_trash": (200, Deleted), "empty_trash": (200, Emptied), "usage": (200, Usage),
}
