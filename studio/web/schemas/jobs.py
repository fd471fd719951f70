"""Jobs, the long work that is no run; drawing in the playground, and the blind votes on what was drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from studio.messages import JsonObject
from studio.web.schemas.base import Failure, Numbers, Remark, Request, State, Texts, Weights
from studio.web.schemas.runs import Event, SamplePicture


class JobStatus(BaseModel):
    """What changes while a job lives."""

    state: State
    phase: str
    phase_done: int | None
    phase_total: int | None
    phase_unit: str | None
    phase_began: float | None = Field(description="Unix seconds by the server's clock, as in `X-Studio-Time`.")
    phase_usual_seconds: float | None = Field(description="What such a phase mostly took here; null where not known.")
    queue_position: int | None
    actions: list[str]


class Result(BaseModel):
    """A file that a job has made, with facts that are of its kind."""

    model_config = ConfigDict(extra="allow")

    name: str
    media_type: str | None
    bytes: int
    url: str


class Job(JobStatus):
    """Long work that is no run; in lists without `args`, what it was asked for."""

    id: str
    kind: str
    name: str
    owner: str
    created: float
    subject: str | None = Field(description="The id of the data set or run that it is about.")
    light: bool
    error: Failure | None
    warnings: list[Remark]
    results: list[Result]
    started: float | None
    updated: float | None
    seq: int
    args: JsonObject | None = None


class Jobs(BaseModel):
    """Newest first."""

    items: list[Job]
    next: None


class JobEvents(JobStatus):
    """A job's status, and its events after `since`; ask again with `since` = `next`."""

    events: list[Event]
    next: int
    last: int


# ------------------------------------------------------------------------------------------------------- drawing


class DrawnColumn(BaseModel):
    """Weights to draw with: a checkpoint's, at a scale where it is a LoRA; a checkpoint of null is the base."""

    checkpoint: str | None = None
    weights: Weights | None = None
    scale: float | None = None


# Looked at where they are used, as all lists of requests are.
Columns = Annotated[list[Any], WithJsonSchema({"type": "array", "items": DrawnColumn.model_json_schema()})]


class Drawing(Request):
    """Pictures of every prompt and seed by every column. What is left out is as in the run's own samples; the columns
    are the base and the newest checkpoint, the seed is random."""

    columns: Columns | None = None
    prompts: Texts | None = None
    negative_prompt: str | None = None
    seeds: Numbers | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    width: int | None = None
    height: int | None = None
    resolution: int | None = Field(default=None, description="Both sides of a square.")


class Vote(Request):
    """A choice on a pair, or `undo`, the last one taken back, or `end`."""

    pair: str | None = None
    choice: str | None = Field(default=None, description="left, right or tie")
    undo: bool | None = None
    end: bool | None = None


class Pair(BaseModel):
    """Two pictures of one prompt and seed, by their addresses."""

    pair: str
    prompt: int
    left: str
    right: str


class Tally(BaseModel):
    """What the votes said of two columns: `share` is the first one's of the decided votes, within `low` to `high`;
    `telling`: a half is outside of these."""

    columns: list[int]
    wins: list[int]
    ties: int
    share: float | None
    low: float
    high: float
    telling: bool


class Standing(BaseModel):
    """How a vote stands; the tally, and with it the names, only at its end."""

    total: int
    done: int
    ended: bool
    last: str | None
    next: Pair | None
    tally: list[Tally] | None


class PastVote(BaseModel):
    """What a vote on one drawing said; `job` is null once the drawing is gone."""

    job: str | None
    time: float | None
    columns: list[DrawnColumn]
    done: int
    total: int
    tally: list[Tally]


class PastVotes(BaseModel):
    """Newest first."""

    items: list[PastVote]
    next: None


# ----------------------------------------------------------------------------------------------------- overfitting


class LossAt(BaseModel):
    """A held-out loss and its step."""

    step: int
    loss: float


class LossesHeldOut(BaseModel):
    """The lowest and the last, and whether it has risen in between."""

    best: LossAt
    last: LossAt
    risen: bool


class Recommended(BaseModel):
    """The checkpoint to take; of `pictures` drawn with it `copies` are near copies of training pictures."""

    checkpoint: str
    step: int
    weights: Weights
    why: Literal["validation", "newest"]
    loss: float | None
    copies: int
    pictures: int


class NearestOfStep(BaseModel):
    """How near the samples of a step are to training pictures; `distance` is the median."""

    step: int
    weights: Weights
    count: int
    copies: int
    distance: float


class Nearest(BaseModel):
    """A training picture; its address is null once the data set is gone."""

    name: str
    captions: list[str]
    image: str
    url: str | None


class ComparedSample(SamplePicture):
    """A sample and its nearest training picture: `distance` beside what is `usual` between the pictures."""

    distance: float
    bits: float
    usual: float
    copy_: bool = Field(alias="copy")
    nearest: Nearest


class Overfitting(BaseModel):
    """What tells of overfitting: `measured` of `count` samples were compared; `job` does it now."""

    validation: dict[str, LossesHeldOut]
    recommended: Recommended | None
    count: int
    measured: int
    steps: list[NearestOfStep]
    samples: list[ComparedSample]
    job: Job | None
