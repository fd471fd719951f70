"""What the server knows and the scripts need before they ask: served once, in each page's head (`static/kit/facts.js`).

States, settings, kinds and limits stand where they are enforced; here they are only gathered, so that no script repeats
them.
"""

from __future__ import annotations

from studio import config, families
from studio.datasets import options
from studio.datasets.imports import layout, sources
from studio.datasets.pictures import crops
from studio.datasets.tabular import sidecars
from studio.datasets.text import encodings
from studio.export.offers import PRECISIONS, SETTINGS_KEY, WEIGHTS, WHOLE_KINDS
from studio.folders import edits, events, names
from studio.messages import JsonObject
from studio.web.services import captions, datasets, plans, play, runs

NAVIGATION = ("train", "runs", "datasets", "play")  # the pages that the header leads to; the first shows by default
PAGES = (*NAVIGATION, "trash")
PICTURES = ("image/*", ".heic", ".heif", ".avif")  # what browsers call a picture, and what some do not know for one


def table() -> JsonObject:
    """The facts as JSON's types; `Facts` in `types/facts.d.ts` says what each is."""
    return {
        "pages": PAGES,
        "live_states": ("queued", *events.ACTIVE),
        "training_states": [state for state in events.ACTIVE if state != "stopping"],
        "editable_settings": edits.EDITABLE,
        "expert_settings": _expert_settings(),
        "weights": WEIGHTS,
        "precisions": tuple(PRECISIONS),
        "whole_kinds": WHOLE_KINDS,
        "lora_kinds": _lora_kinds(),
        "settings_key": SETTINGS_KEY,
        "caption_sources": options.NAMES,
        "encodings": [name for name, _ in encodings.KNOWN.values()],
        "uploads": (*PICTURES, *sources.ARCHIVES, *dict.fromkeys((*sidecars.SUFFIXES, *layout.TABLES))),
        "least_crop": crops.MIN_CROP,
        "drawing": {name: {"least": least, "most": most} for name, (_, least, most) in play.NUMBERS.items()},
        "most_columns": play.MOST_COLUMNS,
        "most_scale": play.MOST_SCALE,
        "longest": {
            "name": names.NAME_LENGTH,
            "preset_name": plans.NAME_LENGTH,
            "prompt": runs.PROMPT_LENGTH,
            "caption": datasets.CAPTION_LENGTH,
            "caption_edit": captions.LENGTH,
            "column": options.LONGEST,
        },
    }


def _expert_settings() -> list[str]:
    """The settings by path that stand in the form's last group."""
    settings = [setting for section in config.schema()["sections"] for setting in section["fields"]]
    return [setting["path"] for setting in settings if setting["expert"]]


def _lora_kinds() -> list[str]:
    """The downloads that a LoRA has in any family, each family's in its own order."""
    kinds: dict[str, None] = {}  # in order, each once
    for family in map(families.get, families.names()):
        kinds |= dict.fromkeys(family.lora_kinds)
    return list(kinds)
