"""The card (README.md) of a data set that leaves the studio: what its columns mean, and how to read it again."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
COLUMNS = """| column | what |
|---|---|
| `image` | the picture: upright, sRGB, without metadata |
| `text` | its caption, empty where it has none |
| `captions` | all its captions; there only where a picture has several |
| `original_name` | the file's name before it was imported |
| `crop` | the square [x, y, side] in pixels that a training looks at; [0, 0, 0] is the whole picture |
| `repeats` | how often a pass over the data takes the picture |"""


def plain(text: str) -> str:
    """Somebody's text in a card: one line in which nothing is markup."""
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]()|#!~<>])", r"\\\1", text)


def imagefolder(name: str, splits: Mapping[str, int], fingerprint: str) -> str:
    """The card of a zip."""
    use = ('from datasets import load_dataset\n\ndata = load_dataset("imagefolder", data_dir="the folder it was '
           'unpacked to")')
    return _card(name, splits, fingerprint, "{}/**", use)


def repository(name: str, splits: Mapping[str, int], fingerprint: str, repo: str) -> str:
    """The card of a Hub repository of parquet files."""
    return _card(name, splits, fingerprint, "data/{}-*", f'from datasets import load_dataset\n\ndata = load_dataset('
                 f'"{repo}")')


def _card(name: str, splits: Mapping[str, int], fingerprint: str, place: str, use: str) -> str:
    from huggingface_hub import DatasetCardData

    count = sum(splits.values())
    size = next((size for most, size in SIZES if count < most), "n>1M")
    files = [{"split": split, "path": place.format(split)} for split in splits]
    facts = DatasetCardData(pretty_name=name, task_categories=["text-to-image"], size_categories=[size],
                            configs=[{"config_name": "default", "data_files": files}])
    counted = ", ".join(f"{number} in `{split}`" for split, number in splits.items())
    return "\n".join([
        "---", facts.to_yaml(), "---", "", f"# {plain(name)}", "",
        f"{count} pictures with captions for text-to-image models: {counted}. Only `train` is learned from; the other "
        "splits measure the loss on pictures that were not.", "", COLUMNS, "", "```python", use, "```", "",
        f"Fingerprint of the training rows: `{fingerprint}`.", "",
        "The pictures' licence is not known to the program that wrote this card: state it here before you pass them "
        "on.", ""])
