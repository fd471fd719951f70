"""What the server knows and the scripts need before they ask: served once, in each page's head (`static/kit/facts.js`).

States, settings, kinds and limits stand where they are enforced; here they are only gathered, so that no script repeats
them.
"""

from __future__ import annotations

from typing import Any

from studio import edits, events, families
from studio.datasets import crops, encodings, layout, options, sidecars, sources
from studio.export.offers import PRECISIONS, SETTINGS_KEY, WEIGHTS, WHOLE_KINDS
from studio.web import names, service_captions, service_datasets, service_plans, service_play, service_runs

NAVIGATION = ("train", "runs", "datasets", "play")  # the pages that the header leads to; the first shows by default
PAGES = (*NAVIGATION, "trash")
PICTURES = ("image/*", ".heic", ".heif", ".avif")  # what browsers call a picture, and what some do not know for one


def table() -> dict[str, Any]:
    """The facts as JSON's types; `Facts` in `types/facts.d.ts` says what each is."""
    return {
        "pages": PAGES,
        "live_states": ("queued", *events.ACTIVE),
        "training_states": [state for state in events.ACTIVE if state != "stopping"],
        "editable_settings": edits.EDITABLE,
        "weights": WEIGHTS,
        "precisions": tuple(PRECISIONS),
        "whole_kinds": WHOLE_KINDS,
        "lora_kinds": _lora_kinds(),
        "settings_key": SETTINGS_KEY,
        "caption_sources": options.NAMES,
        "encodings": [name for name, _ in encodings.KNOWN.values()],
        "uploads": (*PICTURES, *sources.ARCHIVES, *dict.fromkeys((*sidecars.SUFFIXES, *layout.TABLES))),
        "least_crop": crops.MIN_CROP,
        "drawing": {name: {"least": least, "most": most} for name, (_, least, most) in service_play.NUMBERS.items()},
        "most_columns": service_play.MOST_COLUMNS,
        "most_scale": service_play.MOST_SCALE,
        "longest": {
            "name": names.NAME_LENGTH,
            "preset_name": service_plans.NAME_LENGTH,
            "prompt": service_runs.PROMPT_LENGTH,
            "caption": service_datasets.CAPTION_LENGTH,
            "caption_edit": service_captions.LENGTH,
            "column": options.LONGEST,
        },
    }


def _lora_kinds() -> list[str]:
    """The downloads that a LoRA has in any family, each family's in its own order."""
    return list(dict.fromkeys(kind for name in families.names() for kind in families.get(name).lora_kinds))
