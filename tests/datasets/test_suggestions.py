"""Suggested captions: the last word on a picture holds, and the file does not grow with what was decided long ago."""

from __future__ import annotations

from studio import datasets
from studio.datasets.text import suggestions

from .bad import picture, saved
from .conftest import Bring


def made(bring: Bring) -> tuple[datasets.Dataset, list[str]]:
    """A data set of three pictures, and their ids."""
    dataset, _ = bring({f"{number}.png": saved(picture((80 * number, 0, 0))) for number in range(3)})
    return dataset, [row["pid"] for row in dataset.rows()]


def test_the_file_stays_within_twice_what_waits(bring: Bring) -> None:
    dataset, pids = made(bring)
    file = dataset.path / "suggestions.jsonl"
    for turn in range(300):
        suggestions.add(dataset, [{"pid": pid, "caption": f"{turn} " + "a" * 1000, "model": "m"} for pid in pids])
        if turn % 3 == 0:
            suggestions.settle(dataset, pids[:1])
        assert file.stat().st_size <= 2 * suggestions.SMALL + 3 * 1100
    assert {pid: entry["caption"][:4] for pid, entry in suggestions.waiting(dataset).items()} == dict.fromkeys(
        pids, "299 ")


def test_what_waits_is_all_kept(bring: Bring) -> None:
    """However much it is; also beside a line that a kill tore."""
    dataset, pids = made(bring)
    file = dataset.path / "suggestions.jsonl"
    for pid in pids:
        suggestions.add(dataset, [{"pid": pid, "caption": pid + "b" * 3 * suggestions.SMALL, "model": "m"}])
        with open(file, "ab") as torn:
            torn.write(b'{"pid": "')
    suggestions.add(dataset, [{"pid": pids[0], "caption": "short", "model": "m"}])
    found = suggestions.waiting(dataset)
    assert found[pids[0]]["caption"] == "short"
    assert all(found[pid]["caption"] == pid + "b" * 3 * suggestions.SMALL for pid in pids[1:])
