"""What comes before a run: checks, estimates, presets, pasted commands, and the list of all settings."""

from __future__ import annotations

from pydantic import BaseModel, Field

from studio.config import PlainConfig
from studio.web.schemas.base import Problem, Request, Settings


class Plan(Request):
    """A config that is to be looked at; a name is taken too, as it is in a new run."""

    name: str | None = None
    config: Settings | None = Field(default=None, description="What is left out takes its default.")


class NewPreset(Request):
    """A config to keep under a name."""

    name: str | None = None
    config: Settings | None = None


class Command(Request):
    """A command line of train_text_to_image.py, as one would run it."""

    command: str | None = None


class EstimateSource(BaseModel):
    """The run or the check that an estimate is taken from."""

    id: str
    name: str


class Estimate(BaseModel):
    """What a run will take, null where nothing is known; the bases say what time and memory are taken from: measured,
    scaled, weights, shipped (figures that came with the base, with a range) or unknown."""

    steps: int
    pictures: int
    disk_bytes: int | None
    memory_bytes: int | None
    memory_basis: str
    seconds: float | None
    time_basis: str
    low_seconds: float | None
    high_seconds: float | None
    source: EstimateSource | None


class Check(BaseModel):
    """What submitting a config would say; `config` is the whole of it, null where it cannot be used."""

    problems: list[Problem]
    warnings: list[str]
    config: PlainConfig | None
    disk_bytes: int | None
    estimate: Estimate | None


class Preset(BaseModel):
    """A partial config with a name; `own`: the viewer's."""

    id: str
    name: str
    help: str
    own: bool
    config: PlainConfig


class Presets(BaseModel):
    """The shipped ones, then the viewer's own."""

    items: list[Preset]
    next: None


class Unplaced(BaseModel):
    """An option of a command that no setting takes."""

    option: str
    value: object
    why: str


class CommandRead(BaseModel):
    """A partial config, and what of the command is not in it."""

    config: PlainConfig
    unplaced: list[Unplaced]


class Setting(BaseModel):
    """One setting: what it is called, takes and means."""

    path: str
    section: str
    name: str
    kind: str
    default: object
    label: str | None
    help: str | None
    choices: list[str] | None
    bounds: dict[str, float]
    limits: str
    nullable: bool
    reference: str | None = Field(description="The option of the reference script.")
    basic: bool
    expert: bool = Field(description="Whether the form has it in its last group, of what is hardly ever touched.")


class SettingsSection(BaseModel):
    """Settings that belong together."""

    name: str
    title: str
    fields: list[Setting]


class SettingsSchema(BaseModel):
    """Every setting, in the order of the form; `schema` is the version of configs."""

    schema_: int = Field(alias="schema")
    sections: list[SettingsSection]
