"""Writes the base's pictures as an image folder that the studio trains on: `python tools/base_rows.py --work DIR OUT`.

The balance of tools/build_base.py, said in the words of a data set: every thing comes WEIGHT times in a pass, of which
its plain picture seven times in ten (`repeats`), each time under one of a few captions. Then
`python -m studio.datasets import OUT`, and with the id that it tells
`python -m studio.train --config tools/base_run.json --model.base FOLDER --data.dataset ID`;
`tools/base_export.py` takes the pipeline that comes of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TypedDict

import numpy as np
from base_data import PLAIN_SHARE, Entry, by_group, load_data, with_article, with_tags
from PIL import Image

WEIGHT, WORDINGS = 40, 10
SEED = 3


def wordings(entry: Entry, rng: np.random.Generator) -> list[str]:
    """The label, the label with an article, and the label with a few of its tags: WORDINGS at most, none twice."""
    captions = list(dict.fromkeys((entry.label, with_article(entry.label))))
    while entry.tags and len(captions) < WORDINGS:
        captions.append(with_tags(entry.label, entry, rng))
    return list(dict.fromkeys(captions))


def shares(plain: int, others: list[int], rng: np.random.Generator) -> dict[int, int]:
    """How often each picture of a thing comes in a pass, WEIGHT in all; of many variants only some can come at all."""
    if not others:
        return {plain: WEIGHT}
    rest = round(WEIGHT * (1 - PLAIN_SHARE))
    order = rng.permutation(others)
    turns = [int(order[turn % len(order)]) for turn in range(rest)]
    return {plain: WEIGHT - rest} | {index: turns.count(index) for index in turns}


class Line(TypedDict):
    """A line of metadata.jsonl."""

    file_name: str
    captions: list[str]
    repeats: int


def rows(entries: list[Entry]) -> dict[int, Line]:
    """A line of metadata.jsonl for each picture that comes in a pass, by the picture's number."""
    rng = np.random.default_rng(SEED)
    lines: dict[int, Line] = {}
    for plain, others in by_group(entries):
        for index, times in shares(plain, others, rng).items():
            name = f"{entries[index].code}.png"
            lines[index] = {"file_name": name, "captions": wordings(entries[index], rng), "repeats": times}
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="work folder of tools/build_base.py, for its data")
    parser.add_argument("out", type=Path, help="folder to write; made new")
    arguments = parser.parse_args()
    pictures, entries = load_data(arguments.work)
    lines = rows(entries)
    arguments.out.mkdir(parents=True)
    for index, line in lines.items():
        Image.fromarray(pictures[index]).save(arguments.out / line["file_name"])
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines.values())
    (arguments.out / "metadata.jsonl").write_text(text, encoding="utf-8")
    print(f"{len(lines)} pictures, {sum(line['repeats'] for line in lines.values())} in a pass")


if __name__ == "__main__":
    main()
