"""Runs: what is asked of them, and what is told of them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from studio.config import PlainConfig
from studio.messages import JsonObject
from studio.web.schemas.base import Failure, Remark, Request, Settings, State, Text, Texts, Weights


class NewRun(Request):
    """A run to submit."""

    name: str | None = None
    config: Settings | None = Field(default=None, description="What is left out takes its default.")


class NewName(Request):
    """Another name for a run or a data set."""

    name: str | None = None


class Control(BaseModel):
    """What comes with a control: `prompt` with sample; `checkpoint` and `token`, a Hub token that is lent to that
    attempt, with resume."""

    model_config = ConfigDict(extra="allow")  # a control is told itself what it does not take

    prompt: Text | None = None
    checkpoint: Text | None = None
    token: Text | None = None


class Publication(Request):
    """Where a result goes on the Hub, which one, and the token that may write there."""

    repo: str | None = None
    private: bool | None = None
    weights: str | None = Field(default=None, description="ema or raw")
    step: int | None = None
    precision: str | None = Field(default=None, description="fp32, fp16 or bf16")
    token: str | None = None


class Branch(Request):
    """A new run that goes on from a checkpoint, by default the newest; `config` has what changes."""

    checkpoint: str | None = None
    name: str | None = None
    config: Settings | None = None


class Edit(Request):
    """Settings to change on the way; `resume` lets an ended run go on with them."""

    config: Settings | None = None
    resume: bool | None = None


class Order(Request):
    """The ids of waiting runs and jobs, the one that is to come first at the front."""

    order: Texts | None = None


class ProcessUsage(BaseModel):
    """What the processes of a run take at this moment; the GPU's are null without an NVIDIA GPU."""

    memory_bytes: int
    cores_busy: float | None
    gpu_memory_bytes: int | None
    gpu_percent: int | None


class HeldOut(BaseModel):
    """The last held-out loss, by the weights that it was measured with."""

    raw: float | None = None
    ema: float | None = None


class Status(BaseModel):
    """What changes while a run lives."""

    state: State
    phase: str
    phase_done: int | None
    phase_total: int | None
    phase_unit: str | None
    phase_began: float | None = Field(description="Unix seconds by the server's clock, as in `X-Studio-Time`.")
    phase_usual_seconds: float | None = Field(description="What such a phase mostly took here; null where not known.")
    step: int
    total_steps: int | None
    eta_seconds: float | None
    seconds_per_step: float | None
    pictures_per_second: float | None
    validation: HeldOut
    loss: float | None
    lr: float | None
    queue_position: int | None
    actions: list[str]
    note: str | None
    revision: str
    usage: ProcessUsage | None


class KeptCheckpoint(BaseModel):
    """One that is kept."""

    name: str
    step: int
    bytes: int | None


class SamplePicture(BaseModel):
    """One sample picture."""

    step: int
    prompt_index: int | None
    prompt: str
    weights: Weights
    file: str
    seed: int | None
    guidance_scale: float | None
    num_inference_steps: int | None
    url: str | None


class Fix(BaseModel):
    """What may put a run right that ended badly: `how` is resume, branch (from `checkpoint`), again or form."""

    code: str
    how: str
    checkpoint: str | None
    config: PlainConfig
    values: JsonObject
    needs: str | None
    field: str | None


class Resumed(BaseModel):
    """One time that a run went on: from which step, and whether to the bit."""

    from_step: int | None
    checkpoint: str | None
    exact: bool | None
    note: str | None


class Edited(BaseModel):
    """Settings that were changed on the way, and the step from which on they hold."""

    step: int
    time: float
    config: PlainConfig


class RunDataset(BaseModel):
    """The data set as it was when the run was made."""

    id: str
    name: str
    fingerprint: str | None = None
    count: int | None = None


class Parent(BaseModel):
    """Where a run comes from: a checkpoint of another run of this home, or a bundle, by the id that it had there."""

    id: str | None = None
    checkpoint: str | None = None
    changes: list[str] = Field(default=[], description="What its config changes, in words.")
    bundle: str | None = None


class Run(Status):
    """A run; in lists without its config, with the newest samples and warnings alone."""

    id: str
    name: str
    owner: str
    created: float
    parent: Parent | None
    dataset: RunDataset | None
    error: Failure | None
    fixes: list[Fix]
    warnings: list[Remark]
    resumes: list[Resumed]
    edits: list[Edited]
    checkpoints: list[KeptCheckpoint]
    samples: list[SamplePicture]
    started: float | None
    updated: float | None
    seq: int
    peak_memory_bytes: int | None
    command: list[str] = Field(description="The same training from a shell.")
    config: PlainConfig | None = None


class Runs(BaseModel):
    """A page of them; the next one is asked for with `after` = `next`."""

    items: list[Run]
    next: str | None


class Event(BaseModel):
    """Something that happened; docs/run-folder.md lists the kinds and their fields."""

    model_config = ConfigDict(extra="allow")

    seq: int
    kind: str


class Events(Status):
    """A run's status, and its events after `since`; ask again with `since` = `next`."""

    events: list[Event]
    next: int
    last: int


class Log(BaseModel):
    """Whole lines of a run's output: bytes `since` to `next` of `size`."""

    text: str
    since: int
    next: int
    size: int


class Column(BaseModel):
    """One entry for each of the steps; null where no value was finite."""

    min: list[float | None]
    mean: list[float | None]
    max: list[float | None]


class Measured(BaseModel):
    """Held-out losses, with steps of their own."""

    step: list[int]
    loss: Column


class Series(BaseModel):
    """The columns that were asked for; `step` is the last one of each entry, `seq` the event to go on from."""

    state: State
    seq: int
    count: int
    step: list[int]
    loss: Column | None = None
    lr: Column | None = None
    grad_norm: Column | None = None
    seconds: Column | None = None
    validation: dict[str, Measured] | None = None


class Pictured(BaseModel):
    """A training picture, and its mean loss so far (null: not seen yet)."""

    place: int
    image: str
    name: str
    captions: list[str]
    loss: float | None
    count: int
    url: str | None


class PicturesByLoss(BaseModel):
    """Training pictures up to the newest checkpoint's step."""

    items: list[Pictured]
    next: int | None
    count: int
    step: int | None


class File(BaseModel):
    """Something to take home; its `url` answers to Range."""

    path: str
    size: int
    kind: str
    weights: str | None
    step: int | None
    precision: str
    programs: list[str] = Field(description="Those that take it as it is.")
    url: str


class Files(BaseModel):
    """Everything that can be downloaded now."""

    items: list[File]
    next: None


class QueueEntry(BaseModel):
    """A run or a job in the queue."""

    id: str
    work: str
    name: str
    state: State
    position: int


class Queue(BaseModel):
    """The viewer's own in order, and how many wait in all."""

    items: list[QueueEntry]
    next: None
    waiting: int
