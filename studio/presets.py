"""Presets: named, readable pieces of config. The shipped ones follow from a goal, the model, pictures and memory."""

from __future__ import annotations

import re
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TypedDict, cast

from studio import config as config_
from studio import families, storage
from studio.config import PlainConfig
from studio.errors import Refused
from studio.messages import Message

ID = re.compile(r"[0-9a-f]{32}")
LARGE = 100_000_000  # weights of a denoiser from which on a full fine-tune has to save memory
OPTIMIZER_BYTES = 16  # per weight: fp32 weight, gradient and AdamW's two moments
MOST = 200  # presets a person may keep
MOST_OWNERS = 100_000
_saving = threading.Lock()  # two at once must not both be the last
_owners: dict[Path, str] = {}  # whose each file is


@dataclass(frozen=True)
class Goal:
    """What a person wants, in words."""

    id: str
    name: str
    help: str


@dataclass(frozen=True)
class PresetInputs:
    """What a preset depends on. `weights` counts the denoiser's, 0 where they are not known yet."""

    pictures: int
    weights: int
    memory_bytes: int
    base: str
    prediction_type: str = ""  # what the base learns; empty where that is not known yet


GOALS = (
    Goal("try", "Try it", "The base's own suggestions: the shortest way to see something learnt."),
    Goal("style", "A style", "How pictures look: a LoRA of many layers, mirrored pictures, captions left out now and "
         "then so that the style holds without being named."),
    Goal("subject", "A person or a face", "One face: a LoRA, no mirroring since faces are not symmetric, more steps "
         "for few pictures."),
    Goal("object", "An object", "One thing in many places: a small LoRA of the attention layers, mirrored pictures."),
    Goal("full", "Full fine-tune", "Every weight, averaged: for hundreds of pictures or more, with the memory for it."),
)


def config_for(goal: str, about: PresetInputs) -> PlainConfig:
    """The partial config of a goal. Raises KeyError for a goal there is not."""
    builders = {"try": _try, "style": _style, "subject": _subject, "object": _object, "full": _full}
    config = builders[goal](about)
    config_.load(config)  # a preset that the settings refuse is a fault of this file
    return config


def _try(about: PresetInputs) -> PlainConfig:
    return {}


def _style(about: PresetInputs) -> PlainConfig:
    return {"model": {"method": "lora"}, "lora": {"rank": 16, "targets": "attention+feed-forward"},
            "data": {"random_flip": True, "caption_dropout": 0.1}, "train": _steps(about, 25, 300, 3000),
            "objective": _weighted(about), "optim": {"lr_scheduler": "cosine"}}


def _subject(about: PresetInputs) -> PlainConfig:
    return {"model": {"method": "lora"}, "lora": {"rank": 16, "targets": "attention+feed-forward"},
            "data": {"random_flip": False}, "train": _steps(about, 80, 400, 2500), "objective": _weighted(about)}


def _object(about: PresetInputs) -> PlainConfig:
    return {"model": {"method": "lora"}, "lora": {"rank": 8}, "data": {"random_flip": True},
            "train": _steps(about, 60, 300, 2000)}


def _full(about: PresetInputs) -> PlainConfig:
    config: PlainConfig = {"model": {"method": "full"}, "data": {"random_flip": True, "caption_dropout": 0.1},
                           "train": _steps(about, 20, 300, 10_000), "ema": {"enabled": True}}
    if about.weights > LARGE and about.weights * OPTIMIZER_BYTES > 0.5 * about.memory_bytes:
        config["train"] |= {"gradient_checkpointing": True, "batch_size": 1, "gradient_accumulation_steps": 4}
        config["optim"] = {"name": "adamw8bit"}
    return config


def _weighted(about: PresetInputs) -> dict[str, float]:
    """Min-SNR weights, where what the base learns has a formula for them."""
    if about.prediction_type in ("", *families.FORMULAS["snr_gamma"]):
        return {"snr_gamma": 5.0}
    return {}


def _steps(about: PresetInputs, each: int, least: int, most: int) -> dict[str, int]:
    """Updates in all: so many for each picture, within limits; the embedded base learns quicker by half."""
    steps = each * about.pictures
    if about.base == "embedded":
        steps //= 2
    return {"max_steps": int(min(max(steps, least), most))}


# ----------------------------------------------------------------------------------------------------- a person's own


class Preset(TypedDict):
    """A preset as it is kept, in a file of its own."""

    id: str
    name: str
    owner: str
    created: float  # unix seconds
    config: PlainConfig  # a partial one


def save(home: Path, *, name: str, owner: str, config: PlainConfig) -> Preset:
    """Keep a partial config under a name. Raises ConfigError, and Refused where there are too many."""
    config_.load(config)
    preset: Preset = {"id": uuid.uuid4().hex, "name": name, "owner": owner, "created": time.time(), "config": config}
    with _saving:
        if len(of(home, owner)) >= MOST:
            raise Refused(Message("there are {count} presets already: delete some first", count=MOST))
        storage.make_folder(home / "presets")
        storage.write_json(home / "presets" / f"{preset['id']}.json", preset)
    return preset


def of(home: Path, owner: str) -> list[Preset]:
    """A person's presets, oldest first; a damaged one is left out. Whose a file is does not change, so that of others'
    none is read twice: they would make everybody's page slow."""
    presets: list[Preset] = []
    for path in (home / "presets").glob("*.json"):
        if _owners.get(path, owner) != owner:
            continue
        preset = _read(path)
        if preset is None:
            continue
        if len(_owners) > MOST_OWNERS:
            _owners.clear()
        _owners[path] = preset["owner"]
        if preset["owner"] == owner:
            presets.append(preset)
    return sorted(presets, key=itemgetter("created"))


def find(home: Path, preset_id: str) -> Preset | None:
    """One preset by its id; None where there is none of it, or it is damaged."""
    if not ID.fullmatch(preset_id):
        return None
    return _read(home / "presets" / f"{preset_id}.json")


def _read(path: Path) -> Preset | None:
    try:
        preset = storage.read_json(path)
    except storage.Corrupt:
        return None
    if isinstance(preset, dict) and Preset.__required_keys__ <= preset.keys():
        return cast(Preset, preset)
    return None


def delete(home: Path, preset_id: str) -> None:
    """Move a preset to the trash."""
    with suppress(FileNotFoundError):
        storage.to_trash(home / "presets" / f"{preset_id}.json", home / "trash")
