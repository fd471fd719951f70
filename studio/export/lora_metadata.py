"""What a LoRA file says of itself in the words that kohya's trainer uses, by which other programs sort and show it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from studio.config import Config

SHARE = 0.9  # of the captions that must begin alike for their beginning to be what calls the learnt thing up
LONGEST = 100  # characters of it


def lora(config: Config, *, alpha: float | None, name: str, base: str, step: int, rows: Path) -> dict[str, str]:
    """Metadata of a LoRA of whatever family, in a file whose tensors are read with `alpha`. `rows` is the run's
    dataset.jsonl."""
    side = config.data.resolution
    words = {
        "ss_network_module": "networks.lora", "ss_network_dim": str(config.lora.rank),
        "ss_network_alpha": str(alpha), "ss_output_name": name, "ss_sd_model_name": base,
        "ss_resolution": f"({side}, {side})", "ss_steps": str(step),
        "ss_learning_rate": str(config.optim.learning_rate), "ss_optimizer": config.optim.name}
    phrase = trigger(rows)
    if phrase:
        words["modelspec.trigger_phrase"] = phrase
    return words


@lru_cache(maxsize=64)
def trigger(rows: Path) -> str:
    """The words before the first comma with which nearly all captions of a run begin; "" where they do not."""
    counts: dict[str, int] = {}
    number = 0
    with open(rows, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["split"] == "train":
                number += 1
                first = next(iter(row["captions"]), "").partition(",")[0].strip()
                counts[first] = counts.get(first, 0) + 1
    best = max(counts, key=counts.__getitem__, default="")
    if number < 2 or counts.get(best, 0) < SHARE * number or len(best) > LONGEST:
        return ""
    return best
