"""What may spoil a training, found in a data set's rows, and what puts each finding right. Pure, without torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from studio.datasets.pictures.buckets import Buckets
from studio.datasets.text.tokens import Encoder

Row = dict[str, Any]
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


@dataclass(frozen=True)
class Finding:
    """One kind of fault: the pictures that have it (with what is wrong), and the fixes, the best first.

    In a finding of copies, `groups` are pictures that are the same, the best of each first; only the others are items.
    """

    code: str
    fixes: tuple[str, ...]
    items: list[dict[str, Any]] = field(default_factory=list)  # each {"pid", ...}
    groups: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """What a data set is to be used for."""

    resolution: int
    trigger: str = ""
    encoders: tuple[Encoder, ...] = ()
    most_aspect: float = LONG


def examine(rows: Sequence[Row], measured: dict[str, dict[str, Any]], wanted: Wanted,
            same: list[Finding] | None = None) -> list[Finding]:
    """Every finding that has at least one picture. `measured` is `measures.known`; `same` is `copies` of both, where it
    is known already: it does not hang on what is wanted."""
    found = copies(rows, measured) if same is None else same
    found = [*found, *_shapes(rows, measured, wanted), *_captions(rows, wanted)]
    return [finding for finding in found if finding.items]


def histograms(rows: Sequence[Row], resolution: int) -> dict[str, Any]:
    """Short sides and proportions in classes [{from, to, count}], and the buckets [{width, height, count}]."""
    sides = [min(row["width"], row["height"]) for row in rows]
    aspects = [row["width"] / row["height"] for row in rows]
    counted = Buckets(resolution).count(rows)
    return {"short_side": _classes(sides, SIDES), "aspect": _classes(aspects, ASPECTS),
            "buckets": [{"width": w, "height": h, "count": n} for (w, h), n in counted.items()]}


def _classes(values: Sequence[float], edges: Sequence[float]) -> list[dict[str, Any]]:
    places = Counter(np.searchsorted(edges, values, side="right").tolist())
    bounds = [0, *edges, None]
    return [{"from": bounds[i], "to": bounds[i + 1], "count": places[i]} for i in sorted(places)]


# ------------------------------------------------------------------------------------------------------------ pictures


def copies(rows: Sequence[Row], measured: dict[str, dict[str, Any]]) -> list[Finding]:
    """Pictures that are there more than once, to the byte and nearly."""
    same: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        same[row["image"]].append(row)
    known = [group[0] for image, group in same.items() if image in measured]
    facts = [measured[row["image"]] for row in known]
    colours = np.array([list(bytes.fromhex(fact["colours"])) for fact in facts], dtype=np.float32)
    near = [[known[i] for i in group] for group in _near([int(fact["dhash"], 16) for fact in facts], colours)]
    return [_copied("exact_duplicates", [g for g in same.values() if len(g) > 1]), _copied("near_duplicates", near)]


def _copied(code: str, groups: list[list[Row]]) -> Finding:
    """The largest picture of each group is kept, the first of equals."""
    ordered = [sorted(group, key=lambda r: -r["width"] * r["height"]) for group in groups]
    items = [{"pid": row["pid"], "of": group[0]["pid"]} for group in ordered for row in group[1:]]
    return Finding(code, ("exclude",), items, [[row["pid"] for row in group] for group in ordered])


def _near(hashes: list[int], colours: np.ndarray) -> list[list[int]]:
    """Groups of places that are near copies, directly or through others: 64-bit hashes, and colours (n, values).

    A thousand pictures of one hash would be half a million pairs, so no pair inside a group is looked at again, and of
    the others COMPARED for each picture."""
    values, group = np.array(hashes, dtype=np.uint64), np.arange(len(hashes))
    for i in range(len(hashes) - 1):
        near = np.flatnonzero(np.bitwise_count(values[i + 1 :] ^ values[i]) <= NEAR) + i + 1
        near = near[group[near] != group[i]][:COMPARED]
        close = near[unlike(colours[i : i + 1], colours[near]) <= ALIKE] if len(near) else near
        if len(close):
            group[np.isin(group, group[close])] = group[i]
    groups: dict[int, list[int]] = defaultdict(list)
    for i, number in enumerate(group.tolist()):
        groups[number].append(i)
    return [group for group in groups.values() if len(group) > 1]


def unlike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far the colours (n, values) of pictures are apart, pair by pair: the RMS difference of 0 to 255 that is left
    when brightness and contrast are made the same."""
    x, y = (part - part.mean(axis=1, keepdims=True) for part in (one, other))
    xx, yy, xy = ((a * b).mean(axis=1) for a, b in ((x, x), (y, y), (x, y)))

    def left_by(xx: np.ndarray, yy: np.ndarray) -> np.ndarray:
        gain = np.clip(xy / np.maximum(xx, 1e-6), 1 / GAIN, GAIN)
        return np.maximum(gain * gain * xx - 2 * gain * xy + yy, 0)

    return np.sqrt(np.minimum(left_by(xx, yy), left_by(yy, xx)))


def _shapes(rows: Sequence[Row], measured: dict[str, dict[str, Any]], wanted: Wanted) -> list[Finding]:
    small, long, soft = (Finding(code, ("exclude",)) for code in ("too_small", "extreme_aspect", "blurred"))
    for row in rows:
        crop, facts = row.get("crop"), measured.get(row["image"])
        side = crop[2] if crop else min(row["width"], row["height"])
        aspect = 1.0 if crop else max(row["width"], row["height"]) / side
        if side < wanted.resolution:
            small.items.append({"pid": row["pid"], "side": side})
        if aspect > wanted.most_aspect:
            long.items.append({"pid": row["pid"], "aspect": round(aspect, 2)})
        if facts is not None and facts["blur"] >= BLURRED:
            soft.items.append({"pid": row["pid"], "blur": facts["blur"]})
    return [small, long, soft]


# ------------------------------------------------------------------------------------------------------------ captions


def _captions(rows: Sequence[Row], wanted: Wanted) -> list[Finding]:
    missing, no_trigger = Finding("no_caption", ("name_as_caption",)), Finding("no_trigger", ("add_trigger",))
    uses: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        texts = [text for text in row["captions"] if text.strip()]
        if not texts:
            missing.items.append({"pid": row["pid"]})
        elif wanted.trigger and not all(wanted.trigger.casefold() in text.casefold() for text in texts):
            no_trigger.items.append({"pid": row["pid"]})
        for text in dict.fromkeys(texts):
            uses[text.casefold()].append(row["pid"])
    shared = [pids for pids in uses.values() if len(pids) > 1]
    items = [{"pid": pid, "times": len(pids)} for pids in shared for pid in pids]
    same = Finding("duplicate_captions", ("add_name",), list({item["pid"]: item for item in items}.values()), shared)
    return [missing, same, _too_long(rows, wanted), no_trigger]


def _too_long(rows: Sequence[Row], wanted: Wanted) -> Finding:
    found = Finding("long_captions", ("shorten",))
    texts = [(row["pid"], text) for row in rows for text in row["captions"]]
    cut: dict[str, list[dict[str, Any]]] = {}
    for encoder in wanted.encoders:
        for (pid, text), length in zip(texts, encoder.lengths([t for _, t in texts]), strict=True):
            if length > encoder.limit:
                read = encoder.read(text)
                cut.setdefault(pid, []).append({"encoder": encoder.name, "tokens": length, "limit": encoder.limit,
                                                "caption": text[: read["kept"]], "cut": read["cut"]})
    found.items.extend({"pid": pid, "encoders": parts} for pid, parts in cut.items())
    return found


# ------------------------------------------------------------------------------------------------------------ fixes


def _shorten(row: Row, wanted: Wanted) -> dict[str, Any]:
    texts = row["captions"]
    for encoder in wanted.encoders:
        texts = [encoder.shorten(text) for text in texts]
    return {"captions": texts}


def _add_trigger(row: Row, wanted: Wanted) -> dict[str, Any]:
    trigger = wanted.trigger
    return {"captions": [t if trigger.casefold() in t.casefold() else f"{trigger}, {t}".rstrip(", ")
                         for t in row["captions"]]}


def _words(row: Row) -> str:
    """The picture's file name as words: `in/red_cat-02.png` is "red cat"."""
    stem = PurePosixPath(row["name"]).stem
    words = "".join(c if c.isalpha() or c == "'" else " " for c in stem).split()
    return " ".join(words) or stem


FIXES: dict[str, Callable[[Row, Wanted], dict[str, Any] | None]] = {
    "exclude": lambda row, wanted: None,
    "name_as_caption": lambda row, wanted: {"captions": [_words(row)]},
    "add_name": lambda row, wanted: {"captions": [f"{t}, {_words(row)}" if t.strip() else t for t in row["captions"]]},
    "shorten": _shorten,
    "add_trigger": _add_trigger,
}


def changes(rows: Sequence[Row], finding: Finding, fix: str, wanted: Wanted,
            only: set[str] | None = None) -> dict[str, dict[str, Any] | None]:
    """What `Dataset.edit` is to do for the finding's pictures (or `only` those of them). Raises KeyError for a fix that
    the finding does not have."""
    if fix not in finding.fixes:
        raise KeyError(fix)
    named = {item["pid"] for item in finding.items}
    chosen = named if only is None else named & only
    return {row["pid"]: FIXES[fix](row, wanted) for row in rows if row["pid"] in chosen}
