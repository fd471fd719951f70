"""What may spoil a training, found in a data set's rows, and what puts each finding right. Pure, without torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import PurePosixPath
from typing import TypedDict, TypeVar

import numpy as np

from studio.datasets.pictures.buckets import Buckets
from studio.datasets.pictures.measures import Measures
from studio.datasets.schema import Row, RowChange
from studio.datasets.text.tokens import Encoder
from studio.messages import JsonObject

Key = TypeVar("Key")
Member = TypeVar("Member")

# Near copies are at most NEAR of 64 bits apart and ALIKE in colours (`unlike`). In the shipped sample two different
# pictures come as near as 3 bits and as near as 14 in colours, and a copy that was resized, recompressed, brightened by
# a fifth or cropped by 2 % has at most 8 bits and 10.
NEAR, ALIKE = 8, 10.0
COMPARED = 64  # by their colours: so many pictures for each, of those of about its hash that no copy of it is among
GAIN = 5 / 3  # the largest change of contrast that a copy may have
BLURRED = 0.70  # of `measures.blur`: the sharp sample has 0.25 to 0.46, the same blurred by 3 px 0.75 and more
LONG = 3.0  # long side by short side: a centre crop of it loses two thirds
SIDES = (64, 128, 256, 384, 512, 640, 768, 1024, 1536, 2048, 4096)
ASPECTS = (0.25, 0.33, 0.5, 0.67, 0.8, 0.95, 1.05, 1.25, 1.5, 2.0, 3.0, 4.0)


class FlawedPicture(TypedDict, total=False):
    """A picture of a finding, by its id, and what is wrong with it."""

    pid: str
    of: str  # the copy that is kept
    side: int  # pixels
    aspect: float
    blur: float
    times: int  # that its caption is used
    encoders: list[JsonObject]  # that cut its captions: encoder, tokens, limit, caption (what is read), cut


@dataclass(frozen=True)
class Finding:
    """One kind of fault: the pictures that have it (with what is wrong), and the fixes, the best first.

    In a finding of copies, `groups` are pictures that are the same, the best of each first; only the others are items.
    """

    code: str
    fixes: tuple[str, ...]
    items: list[FlawedPicture] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainingGoal:
    """What a data set is to be used for."""

    resolution: int
    trigger: str = ""
    encoders: tuple[Encoder, ...] = ()
    most_aspect: float = LONG


def examine(rows: Sequence[Row], measured: Mapping[str, Measures], goal: TrainingGoal,
            same: list[Finding] | None = None) -> list[Finding]:
    """Every finding that has at least one picture. `measured` is `measures.known`; `same` is `copies` of both, where it
    is known already: it does not hang on what is wanted."""
    if same is None:
        same = copies(rows, measured)
    findings = [*same, *_shapes(rows, measured, goal), *_captions(rows, goal)]
    return list(filter(attrgetter("items"), findings))


def histograms(rows: Sequence[Row], resolution: int) -> JsonObject:
    """Short sides and proportions in classes [{from, to, count}], and the buckets [{width, height, count}]."""
    sides = [min(row["width"], row["height"]) for row in rows]
    aspects = [row["width"] / row["height"] for row in rows]
    counts = Buckets(resolution).count(rows)
    buckets = [{"width": width, "height": height, "count": count} for (width, height), count in counts.items()]
    return {"short_side": _classes(sides, SIDES), "aspect": _classes(aspects, ASPECTS), "buckets": buckets}


def _classes(values: Sequence[float], edges: Sequence[float]) -> list[JsonObject]:
    """How many of the values lie between which edges; classes without any are left out."""
    counts = Counter(np.searchsorted(edges, values, side="right").tolist())
    bounds = [0, *edges, None]
    return [{"from": bounds[place], "to": bounds[place + 1], "count": counts[place]} for place in sorted(counts)]


# ------------------------------------------------------------------------------------------------------------ pictures


def copies(rows: Sequence[Row], measured: Mapping[str, Measures]) -> list[Finding]:
    """Pictures that are there more than once, to the byte and nearly."""
    same: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        same[row["image"]].append(row)
    compared: list[Row] = []  # one row for each picture that was measured
    hashes: list[int] = []
    colours: list[list[int]] = []
    for image, group in same.items():
        if image in measured:
            compared.append(group[0])
            hashes.append(int(measured[image]["dhash"], 16))
            colours.append(list(bytes.fromhex(measured[image]["colours"])))
    near: list[list[Row]] = []
    for places in _near(hashes, np.array(colours, dtype=np.float32)):
        near.append([compared[place] for place in places])
    return [_copied("exact_duplicates", _of_several(same)), _copied("near_duplicates", near)]


def _of_several(groups: Mapping[Key, list[Member]]) -> list[list[Member]]:
    """The groups that have more than one member."""
    return [group for group in groups.values() if len(group) > 1]


def _copied(code: str, groups: Iterable[list[Row]]) -> Finding:
    """The largest picture of each group is kept, the first of equals."""
    finding = Finding(code, ("exclude",))
    for group in groups:
        first, *others = [row["pid"] for row in sorted(group, key=lambda row: -row["width"] * row["height"])]
        finding.groups.append([first, *others])
        for pid in others:
            finding.items.append({"pid": pid, "of": first})
    return finding


def _near(hashes: list[int], colours: np.ndarray) -> list[list[int]]:
    """Groups of places that are near copies, directly or through others: 64-bit hashes, and colours (n, values).

    A thousand pictures of one hash would be half a million pairs, so no pair inside a group is looked at again, and of
    the others COMPARED for each picture."""
    values = np.array(hashes, dtype=np.uint64)
    group_of = np.arange(len(hashes))  # the group that each place is in: at first its own
    for place in range(len(hashes) - 1):
        near = np.flatnonzero(np.bitwise_count(values[place + 1 :] ^ values[place]) <= NEAR) + place + 1
        near = near[group_of[near] != group_of[place]][:COMPARED]
        if not len(near):
            continue
        close = near[unlike(colours[place : place + 1], colours[near]) <= ALIKE]
        if len(close):
            group_of[np.isin(group_of, group_of[close])] = group_of[place]
    groups: dict[int, list[int]] = defaultdict(list)
    for place, number in enumerate(group_of.tolist()):
        groups[number].append(place)
    return _of_several(groups)


def unlike(colours: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far the colours (n, values) of pictures are apart, pair by pair: the RMS difference of 0 to 255 that is left
    when brightness and contrast are made the same."""
    x = colours - colours.mean(axis=1, keepdims=True)
    y = others - others.mean(axis=1, keepdims=True)
    xx = (x * x).mean(axis=1)
    yy = (y * y).mean(axis=1)
    xy = (x * y).mean(axis=1)

    def left_by(xx: np.ndarray, yy: np.ndarray) -> np.ndarray:
        """The mean square that is left where x is multiplied by the gain that fits it to y best."""
        gain = np.clip(xy / np.maximum(xx, 1e-6), 1 / GAIN, GAIN)
        return np.maximum(gain * gain * xx - 2 * gain * xy + yy, 0)

    return np.sqrt(np.minimum(left_by(xx, yy), left_by(yy, xx)))


def _shapes(rows: Sequence[Row], measured: Mapping[str, Measures], goal: TrainingGoal) -> list[Finding]:
    """Pictures that are too small for the resolution, too long, or blurred."""
    small = Finding("too_small", ("exclude",))
    long = Finding("extreme_aspect", ("exclude",))
    blurred = Finding("blurred", ("exclude",))
    for row in rows:
        side, aspect = _side_and_aspect(row)
        if side < goal.resolution:
            small.items.append({"pid": row["pid"], "side": side})
        if aspect > goal.most_aspect:
            long.items.append({"pid": row["pid"], "aspect": round(aspect, 2)})
        facts = measured.get(row["image"])
        if facts is not None and facts["blur"] >= BLURRED:
            blurred.items.append({"pid": row["pid"], "blur": facts["blur"]})
    return [small, long, blurred]


def _side_and_aspect(row: Row) -> tuple[int, float]:
    """The short side in pixels of what is trained on, and long by short side."""
    crop = row.get("crop")
    if crop:
        return crop[2], 1.0
    side = min(row["width"], row["height"])
    return side, max(row["width"], row["height"]) / side


# ------------------------------------------------------------------------------------------------------------ captions


def _captions(rows: Sequence[Row], goal: TrainingGoal) -> list[Finding]:
    """Captions that are missing, the same for several pictures, too long for an encoder, or without the trigger."""
    missing = Finding("no_caption", ("name_as_caption",))
    no_trigger = Finding("no_trigger", ("add_trigger",))
    users: dict[str, list[str]] = defaultdict(list)  # pids by caption, case ignored
    for row in rows:
        texts = [text for text in row["captions"] if text.strip()]
        if not texts:
            missing.items.append({"pid": row["pid"]})
        elif not all(_has_trigger(text, goal.trigger) for text in texts):
            no_trigger.items.append({"pid": row["pid"]})
        for text in dict.fromkeys(texts):
            users[text.casefold()].append(row["pid"])
    return [missing, _shared(_of_several(users)), _too_long(rows, goal), no_trigger]


def _has_trigger(text: str, trigger: str) -> bool:
    """Whether a caption has the trigger word, case ignored; every caption has an empty one."""
    return trigger.casefold() in text.casefold()


def _shared(groups: list[list[str]]) -> Finding:
    """The pictures of captions that several have; of one that is in several groups the last counts."""
    items: dict[str, FlawedPicture] = {}
    for pids in groups:
        for pid in pids:
            items[pid] = {"pid": pid, "times": len(pids)}
    return Finding("duplicate_captions", ("add_name",), list(items.values()), groups)


def _too_long(rows: Sequence[Row], goal: TrainingGoal) -> Finding:
    """Pictures with captions that an encoder cuts, by encoder."""
    pids: list[str] = []
    texts: list[str] = []
    for row in rows:
        for text in row["captions"]:
            pids.append(row["pid"])
            texts.append(text)
    cuts: dict[str, list[JsonObject]] = defaultdict(list)
    for encoder in goal.encoders:
        for pid, text, length in zip(pids, texts, encoder.lengths(texts), strict=True):
            if length > encoder.limit:
                read = encoder.read(text)
                cuts[pid].append({"encoder": encoder.name, "tokens": length, "limit": encoder.limit,
                                  "caption": text[: read["kept"]], "cut": read["cut"]})
    finding = Finding("long_captions", ("shorten",))
    for pid, parts in cuts.items():
        finding.items.append({"pid": pid, "encoders": parts})
    return finding


# ------------------------------------------------------------------------------------------------------------ fixes


def _exclude(row: Row, goal: TrainingGoal) -> None:
    return None


def _name_as_caption(row: Row, goal: TrainingGoal) -> RowChange:
    return {"captions": [_words(row)]}


def _add_name(row: Row, goal: TrainingGoal) -> RowChange:
    """The picture's name behind each caption that says something."""
    captions = row["captions"].copy()
    for place, text in enumerate(captions):
        if text.strip():
            captions[place] = f"{text}, {_words(row)}"
    return {"captions": captions}


def _shorten(row: Row, goal: TrainingGoal) -> RowChange:
    """The captions as far as every encoder reads them."""
    captions = row["captions"]
    for encoder in goal.encoders:
        captions = list(map(encoder.shorten, captions))
    return {"captions": captions}


def _add_trigger(row: Row, goal: TrainingGoal) -> RowChange:
    """The trigger before each caption that does not have it."""
    captions = row["captions"].copy()
    for place, text in enumerate(captions):
        if not _has_trigger(text, goal.trigger):
            captions[place] = f"{goal.trigger}, {text}".rstrip(", ")
    return {"captions": captions}


def _words(row: Row) -> str:
    """The picture's file name as words: `in/red_cat-02.png` is "red cat"."""
    stem = PurePosixPath(row["name"]).stem
    words = "".join(map(_letter, stem)).split()
    return " ".join(words) or stem


def _letter(character: str) -> str:
    """A letter or an apostrophe as it is, a space for anything else."""
    return character if character.isalpha() or character == "'" else " "


FIXES: dict[str, Callable[[Row, TrainingGoal], RowChange | None]] = {
    "exclude": _exclude,
    "name_as_caption": _name_as_caption,
    "add_name": _add_name,
    "shorten": _shorten,
    "add_trigger": _add_trigger,
}


def changes(rows: Sequence[Row], finding: Finding, fix: str, goal: TrainingGoal,
            only: set[str] | None = None) -> dict[str, RowChange | None]:
    """What `Dataset.edit` is to do for the finding's pictures (or `only` those of them). Raises KeyError for a fix that
    the finding does not have."""
    if fix not in finding.fixes:
        raise KeyError(fix)
    pids = {item["pid"] for item in finding.items}
    if only is not None:
        pids &= only
    return {row["pid"]: FIXES[fix](row, goal) for row in rows if row["pid"] in pids}
