"""The server itself: whether it is ready, who looks, what the machine is, what things take, and what was deleted."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from studio.messages import JsonObject
from studio.web.schemas.base import Request, Texts


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    version: str


class Ready(BaseModel):
    """Whether everything that a person needs is there, and what is not."""

    status: Literal["ok", "waiting"]
    waiting_for: list[str]


class Gpu(BaseModel):
    """A graphics card."""

    model_config = ConfigDict(extra="allow")

    name: str
    memory_bytes: int


class Machine(BaseModel):
    """What this machine has, and the number format and kernels that are fastest on it."""

    cores: int
    memory_bytes: int
    gpus: list[Gpu]
    precision: str
    precision_reason: str
    torch: str | None = None
    kernels: JsonObject | None = Field(
        default=None, description="`compute.attention` and `compute.linear` by precision.")
    speed: dict[str, float] | None = Field(
        default=None, description="Of a CPU: seconds of a small measured step on one thread, by precision.")


class Session(BaseModel):
    """Who looks, and where they sign in or out."""

    auth: str
    import_roots: list[str]
    signed_in: bool
    name: str
    may_create: bool
    administrator: bool
    login: str | None
    logout: str | None


class WaitingCounts(BaseModel):
    """How many wait in the queue."""

    runs: int
    jobs: int


class KeptCounts(BaseModel):
    """How many are kept."""

    runs: int
    datasets: int


class Figures(BaseModel):
    """What a person's things take, in bytes, and how many they are."""

    bytes: int
    kinds: dict[str, int]
    trash: int
    waiting: WaitingCounts
    kept: KeptCounts


class Person(Figures):
    """Somebody's, for an administrator."""

    id: str
    name: str


class Usage(Figures):
    """What the viewer's things take and what they may; of everybody for an administrator."""

    limits: dict[str, int | None] | None
    people: list[Person] | None
    free_bytes: int | None


class Emptying(Request):
    """What is removed for good: those of `ids`, else everything of the viewer's, or, for an administrator, what
    `everybody` deleted."""

    ids: Texts | None = None
    everybody: bool | None = None


class Deleted(BaseModel):
    """Something in the trash; removed for good at `gone_at`. `part_of` is the run or data set that it belongs to."""

    id: str
    kind: str
    subject: str
    name: str
    part_of: str | None
    owner: str
    deleted: float
    gone_at: float
    bytes: int
    restorable: bool


class Trash(BaseModel):
    """Newest first, and the bytes that emptying it gives back."""

    items: list[Deleted]
    next: None
    bytes: int


class Emptied(BaseModel):
    """What was removed for good."""

    removed: int
    bytes: int
