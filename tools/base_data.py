"""Pictures, captions and balance of the embedded base's training data; used by build_base.py and base_quality.py."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

PICTURES = ("emoji-datasource-google", "16.0.0")
LABELS = ("emojibase-data", "17.0.0")
SIZE = 64
TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
GENDERS = {"2640", "2642"}
PERSONS = {"1f466", "1f467", "1f468", "1f469", "1f9d1"}
JOINER, VARIATION = "200d", "fe0f"
# Left out on purpose: the sample data set holds these things, so a fine-tune on it can show what is learned anew.
# Avocado, flamingo, mirror ball, teapot, pretzel, toolbox, hedgehog, saxophone, roller skate, jellyfish.
HELD_OUT = {"1f951", "1f9a9", "1faa9", "1fad6", "1f968", "1f9f0", "1f994", "1f3b7", "1f6fc", "1fabc"}
PLAIN_SHARE = 0.7


@dataclass(frozen=True)
class Entry:
    """One training picture: its words, and the group of variants (skin tones, genders) it shares its weight with."""

    code: str
    label: str
    tags: tuple[str, ...]
    group: str
    plain: bool


def write_atomically(path: Path, data: bytes) -> None:
    """The file holds either its old bytes or all the new ones, whenever the process or machine stops."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    # The rename itself must be on the disk too.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def fetch(package: tuple[str, str], work: Path) -> Path:
    """The npm package's archive, asked from the registry where the work folder lacks it."""
    name, version = package
    archive = work / "npm" / f"{name}-{version}.tgz"
    if not archive.exists():
        # npm writes under the final name, so it packs beside and only a whole archive takes the name.
        beside = work / "npm" / "packing"
        beside.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", "--pack-destination", str(beside), f"{name}@{version}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (beside / archive.name).rename(archive)
    return archive


def group_of(code: str) -> str:
    """The code without skin tone and gender: all variants of one thing have the same."""
    parts = [part for part in code.split("-") if part != VARIATION]
    if len(parts) == 1:
        return parts[0]
    toneless = "-".join(part for part in parts if part not in TONES)
    joined = [part for part in toneless.split(f"-{JOINER}-") if part not in GENDERS]
    # "man cook" is man + pan; families and couples have a second person and stay apart.
    if len(joined) > 1 and joined[0] in {"1f468", "1f469"} and not PERSONS & set(joined[1:]):
        joined[0] = "1f9d1"
    return f"-{JOINER}-".join(joined)


def without_variation(code: str) -> str:
    return "-".join(part for part in code.lower().split("-") if part != VARIATION)


def read_labels(archive: Path) -> dict[str, tuple[str, tuple[str, ...], str]]:
    """Label, tags and group of every code of the English data, skin-tone variants included."""
    with tarfile.open(archive) as package:
        member = package.extractfile("package/en/data.json")
        if member is None:
            raise FileNotFoundError(f"{archive} holds no English data")
        data = json.load(member)
    words = {}
    for item in data:
        for variant in (item, *item.get("skins", ())):
            # Tones of couples have codes of another shape than their neutral picture, so the parent names the group.
            group = group_of(without_variation(item["hexcode"]))
            words[without_variation(variant["hexcode"])] = (variant["label"], tuple(item.get("tags", ())), group)
    return words


def compose(data: bytes) -> np.ndarray:
    """One picture on white as 64x64x3 bytes."""
    drawn = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", drawn.size, "white")
    white.alpha_composite(drawn)
    picture = white.convert("RGB")
    if picture.size != (SIZE, SIZE):
        picture = picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def build_data(work: Path) -> None:
    """Writes every picture and its words into the work folder, in the order of the codes."""
    words = read_labels(fetch(LABELS, work))
    folder = f"package/img/google/{SIZE}/"
    pictures: dict[str, np.ndarray] = {}
    with tarfile.open(fetch(PICTURES, work)) as package:
        for member in package:
            code = without_variation(Path(member.name).stem)
            if not member.name.startswith(folder) or code not in words or words[code][2] in HELD_OUT:
                continue
            file = package.extractfile(member)
            if file is not None:
                pictures[code] = compose(file.read())
    codes = sorted(pictures)
    buffer = io.BytesIO()
    np.save(buffer, np.stack([pictures[code] for code in codes]))
    write_atomically(work / "data" / "pictures.npy", buffer.getvalue())
    listed = []
    for code in codes:
        label, tags, group = words[code]
        listed.append({"code": code, "label": label, "tags": tags, "group": group, "plain": group == code})
    # Written last: this file says that the stage is done.
    write_atomically(work / "data" / "entries.json", json.dumps(listed, ensure_ascii=False).encode())


def load_data(work: Path) -> tuple[np.ndarray, list[Entry]]:
    """All training pictures (N, 64, 64, 3) and their entries, built first where the work folder lacks them."""
    if not (work / "data" / "entries.json").exists():
        build_data(work)
    listed = json.loads((work / "data" / "entries.json").read_text(encoding="utf-8"))
    entries = [Entry(**{**item, "tags": tuple(item["tags"])}) for item in listed]
    return np.load(work / "data" / "pictures.npy"), entries


def by_group(entries: list[Entry]) -> list[tuple[int, list[int]]]:
    """For each group the index of its plain picture and those of its other variants, in a fixed order."""
    members = defaultdict(list)
    for index, entry in enumerate(entries):
        members[entry.group].append(index)
    result = []
    for group in sorted(members):
        # A group without a neutral picture (some families) is led by its first variant.
        plain = next((i for i in members[group] if entries[i].plain), members[group][0])
        result.append((plain, [i for i in members[group] if i != plain]))
    return result


def draw_pictures(groups: list[tuple[int, list[int]]], count: int, start: int, seed: int) -> list[int]:
    """Pictures `start` to `start + count` of the endless balanced order.

    Groups come in shuffled rounds, so after every round each has been drawn equally often; of a group with variants
    the plain picture comes PLAIN_SHARE of the time.
    """
    chosen = []
    for position in range(start, start + count):
        turn, place = divmod(position, len(groups))
        order = _round_order(len(groups), turn, seed)
        plain, others = groups[order[place]]
        rng = np.random.default_rng([seed, 1, position])
        if others and rng.random() >= PLAIN_SHARE:
            chosen.append(others[rng.integers(len(others))])
        else:
            chosen.append(plain)
    return chosen


_orders: dict[tuple[int, int, int], np.ndarray] = {}


def _round_order(count: int, turn: int, seed: int) -> np.ndarray:
    key = (count, turn, seed)
    if key not in _orders:
        if len(_orders) > 4:
            _orders.clear()
        _orders[key] = np.random.default_rng([seed, 2, turn]).permutation(count)
    return _orders[key]


def with_article(label: str) -> str:
    """The label as one says it of a single thing; as it is where that cannot be."""
    if not label[:1].islower() or label.endswith("s"):
        return label
    if label[0] in "aeio":
        return f"an {label}"
    return f"a {label}"


def with_tags(label: str, entry: Entry, rng: np.random.Generator) -> str:
    """The label and one to four of the entry's tags, which must not be none."""
    count = min(len(entry.tags), int(rng.integers(1, 5)))
    return ", ".join([label, *rng.choice(entry.tags, count, replace=False)])


def draw_caption(entry: Entry, rng: np.random.Generator) -> str:
    """Words for a picture: empty one time in ten, otherwise the label, at times with an article or some tags."""
    if rng.random() < 0.1:
        return ""
    label = entry.label
    if rng.random() < 0.3:
        label = with_article(label)
    if entry.tags and rng.random() < 0.4:
        return with_tags(label, entry, rng)
    return label


def all_texts(entries: list[Entry]) -> list[str]:
    """Every label, with and without article and tags, for the tokenizer."""
    texts = []
    for entry in entries:
        texts += [entry.label, f"a {entry.label}", ", ".join((entry.label, *entry.tags))]
    return texts
