"""The types that the scripts are checked by promise no more than the models of the API's answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from studio.ui import theme
from studio.web.schemas import base, datasets, health, jobs, plans, runs, server

TYPES = Path(theme.__file__).parent / "types"
MODELS: dict[str, type[BaseModel]] = {
    "Problem": base.Problem, "Fault": base.Fault, "Warning": base.Remark,
    "RunStatus": runs.Status, "Usage": runs.ProcessUsage, "Run": runs.Run, "Checkpoint": runs.KeptCheckpoint,
    "Resume": runs.Resumed, "Edit": runs.Edited, "Fix": runs.Fix, "Sample": runs.SamplePicture, "Events": runs.Events,
    "Series": runs.Series, "Download": runs.File, "Log": runs.Log, "Queued": runs.QueueEntry,
    "Overfitting": jobs.Overfitting, "Held": jobs.LossesHeldOut, "Recommended": jobs.Recommended,
    "Compared": jobs.ComparedSample, "Job": jobs.Job, "JobResult": jobs.Result, "Column": jobs.DrawnColumn,
    "Tally": jobs.Tally, "Pair": jobs.Pair, "Vote": jobs.Standing, "KeptVote": jobs.PastVote,
    "Dataset": datasets.Dataset, "Report": datasets.Report, "Picture": datasets.Image, "HubPreview": datasets.Preview,
    "Changed": health.Changed, "CaptionPreview": health.EditPreview, "Health": health.Health,
    "HistogramClass": health.Bin, "Finding": health.Finding, "FoundPicture": health.FlawedImage,
    "TokensOfPicture": health.Tokens, "TokensRead": health.ReadCaption, "Suggested": health.Suggestion,
    "Session": server.Session, "Deleted": server.Deleted, "Room": server.Usage,
    "Preset": plans.Preset, "Field": plans.Setting, "Schema": plans.SettingsSchema}
INTERFACE = re.compile(r"^export interface (\w+)[^{]*\{\n(.*?)^\}", re.M | re.S)
FIELD = re.compile(r"^  (\w+)(\??): (.*?);$", re.M | re.S)


@dataclass(frozen=True)
class Promise:
    """What a type says of a field: that it may be missing, and what it may be."""

    optional: bool
    type: str


def interfaces() -> dict[str, dict[str, Promise]]:
    """The types of answers by name, each with its own fields."""
    text = "\n".join(path.read_text() for path in TYPES.glob("*.d.ts"))
    return {name: {field: Promise(bool(mark), kind) for field, mark, kind in FIELD.findall(body)}
            for name, body in INTERFACE.findall(text)}


def may_be_null(annotation: Any) -> bool:
    if annotation is Any:
        return False
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


@pytest.mark.parametrize("name", MODELS)
def test_a_type_promises_what_its_model_does(name: str) -> None:
    promised = {field.alias or key: field for key, field in MODELS[name].model_fields.items()}
    fields = interfaces()[name]
    assert fields
    unpromised = [key for key, field in fields.items() if key not in promised and not field.optional]
    assert not unpromised, "no model promises these: they must be optional"
    missing = [key for key, field in fields.items()
               if key in promised and not promised[key].is_required() and not field.optional]
    assert not missing, "an answer may lack these: they must be optional"
    null = [key for key, field in fields.items()
            if key in promised and may_be_null(promised[key].annotation) and "null" not in field.type]
    assert not null, "these may be null"


def test_every_type_of_an_answer_is_held_against_a_model() -> None:
    """But parts of others, what is of no model, and a drawing's arguments, which the studio has filled in."""
    loose = set(interfaces()) - set(MODELS)
    assert loose == {"Page", "Progress", "RunEvent", "StepEvent", "ValidationEvent", "ResumedEvent", "CheckReport",
                     "CheckPicture", "SeenPicture", "Drawn", "DrawingJob", "DrawingArgs", "Ask", "EncodingFound",
                     "Facts", "Bridge", "Draft", "SetPage"}
