"""What the files of a run or a job hold, as types: events, the record, process.json, exit.json, remote.json.

A file may come from an older studio or from another machine, so any key may be missing: whoever reads looks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from studio.config import PlainConfig
    from studio.messages import JsonObject


class ErrorRecord(TypedDict, total=False):
    """What ended an attempt, for a person."""

    code: str  # stable, for programs
    message: str
    hint: str  # what to do next
    evidence: str  # the end of a log, or ""


# ------------------------------------------------------------------------------------------------------------- events


class EventBase(TypedDict, total=False):
    """What every event has."""

    seq: int  # counts on from 1 over all attempts
    time: float  # unix seconds
    mono: float  # monotonic seconds of the attempt's process
    origin: int  # of what a rented machine told: its number there


class AttemptEvent(EventBase, total=False):
    """An attempt has begun; of a job `attempt` alone."""

    kind: Literal["attempt"]
    attempt: int
    total_steps: int | None
    pictures: int
    device: str
    precision: str
    exact: bool  # a resume repeats every bit
    threads: int | None
    versions: dict[str, str]
    numerics: JsonObject


class ResumedEvent(EventBase, total=False):
    """The attempt goes on; what was told of later steps before holds no more."""

    kind: Literal["resumed"]
    from_step: int
    checkpoint: str | None
    exact: bool
    note: str | None


class Progress(TypedDict):
    """What is being done now, since when (unix seconds, None where that is not known), and how far it is."""

    phase: str | None
    done: int | None
    total: int | None
    unit: str | None
    began: float | None


class PhaseEvent(EventBase, total=False):
    """What is being done from now on: downloading, loading, caching, training, sampling, validating, saving, ..."""

    kind: Literal["phase"]
    phase: str
    done: int | None
    total: int | None
    unit: str | None


class StepEvent(EventBase, total=False):
    """One update of the weights."""

    kind: Literal["step"]
    step: int
    loss: float | None  # null where it is not finite
    lr: float | None
    grad_norm: float | None
    pictures: int
    seconds: float


class ValidationEvent(EventBase, total=False):
    """The mean loss on the held-out pictures."""

    kind: Literal["validation"]
    step: int
    loss: float | None
    weights: str  # raw, ema
    pictures: int


class SampleEvent(EventBase, total=False):
    """A sample picture was drawn."""

    kind: Literal["sample"]
    step: int
    prompt_index: int
    prompt: str
    weights: str  # raw, ema
    file: str  # its name in samples/
    seed: int
    guidance_scale: float
    num_inference_steps: int
    requested: bool


class CheckpointEvent(EventBase, total=False):
    """A checkpoint was saved, or (not `ok`) could not be."""

    kind: Literal["checkpoint"]
    step: int
    name: str
    bytes: int
    seconds: float
    ok: bool
    error: str | None


class KeptCheckpoint(TypedDict):
    """A checkpoint whose folder is still there."""

    name: str
    step: int
    bytes: int | None


class RetiredEvent(EventBase, total=False):
    """A checkpoint was removed."""

    kind: Literal["retired"]
    name: str
    step: int | None


class ControlEvent(EventBase, total=False):
    """An answer to a request; of an edit that is done also what changed, and after which step."""

    kind: Literal["control"]
    id: str
    control: str
    result: str  # accepted, done, refused
    message: str | None
    step: int
    config: PlainConfig


class WarningEvent(EventBase, total=False):
    """Something a person should know that does not end the run."""

    kind: Literal["warning"]
    code: str
    message: str


class ResultEvent(EventBase, total=False):
    """A file in the results of a job is complete."""

    kind: Literal["result"]
    name: str
    media_type: str
    bytes: int
    facts: JsonObject


class EndEvent(EventBase, total=False):
    """The attempt's last word."""

    kind: Literal["end"]
    result: str
    step: int
    error: ErrorRecord | None
    peak_memory_bytes: int | None


Event = (AttemptEvent | ResumedEvent | PhaseEvent | StepEvent | ValidationEvent | SampleEvent | CheckpointEvent
         | RetiredEvent | ControlEvent | WarningEvent | ResultEvent | EndEvent)

# -------------------------------------------------------------------------------------------------------------- files


class HeldRecord(TypedDict, total=False):
    """Why the studio itself paused an attempt."""

    attempt: int
    why: str
    message: str
    hint: str


class ParentRecord(TypedDict, total=False):
    """Which run and checkpoint a run was branched from."""

    id: str
    checkpoint: str
    changes: list[str]


class DatasetRecord(TypedDict, total=False):
    """The data set that a run's rows were frozen from."""

    id: str
    name: str
    fingerprint: str
    count: int


class WorkRecord(TypedDict, total=False):
    """run.json or job.json."""

    name: str
    owner: str
    created: float  # unix seconds, as all times here
    attempt: int  # how many were asked for
    rank: float  # the place in the queue: the lowest comes first
    held_until: float  # the queue leaves the next attempt to its starter until then
    # of a run
    parent: ParentRecord | None
    backend: str
    dataset: DatasetRecord | None
    held: HeldRecord | None
    resume_from: str | None  # a checkpoint's name; None: the newest
    # of a job
    kind: str
    args: Any  # an object, with what each kind of job takes
    subject: str | None  # the id of the data set or run that it is about
    light: bool


class ProcessRecord(TypedDict, total=False):
    """process.json: the last attempt that a supervisor began, and that supervisor; {"attempt": 0} before the first."""

    attempt: int
    pid: int
    start_time: float | None
    boot_id: str | None
    argv: list[str]
    began: float


class ExitRecord(TypedDict, total=False):
    """exit.json: how the last attempt ended, as its supervisor saw it."""

    attempt: int
    returncode: int | None
    signal: int | None
    oom_kill: bool
    result: str | None  # how the supervisor itself ended it
    error: ErrorRecord | None
    ended: float


class RemoteJob(TypedDict, total=False):
    """What a job on a rented machine is found by; no secret."""

    namespace: str
    repo: str
    job: str
    url: str


class RemoteRecord(RemoteJob, total=False):
    """remote.json: the job of a run on a rented machine, kept before it is submitted."""

    over: bool
    cancelled: bool
    backend: str
    intent: str  # a name of our own, by which it is found again
    start: int  # the number of the run's last event before it


class Row(TypedDict, total=False):
    """A picture with its captions: a line of a run's dataset.jsonl, and with `pid` a row of a data set."""

    image: str  # SHA-256 of the stored file's bytes
    ext: str
    width: int  # pixels, as height
    height: int
    captions: list[str]
    split: str
    name: str
    crop: list[int]  # [x, y, side] in pixels; missing where the whole picture is trained on
    repeats: int  # in an epoch; missing for 1
    pid: str  # its id in the data set
