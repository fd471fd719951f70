"""Any mixture of good and bad files, loose, in archives and in tables, at once or in batches: counts add up, nothing
is written outside the store."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow
import pyarrow.parquet
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from studio import datasets

from . import test_table_b
from .bad import picture, saved, zipped
from .test_layouts import tar

POOL = {
    **{name: case[0] for name, case in {**test_table_b.SKIPPED, **test_table_b.TAKEN}.items()
       if not name.startswith(("text-bomb", "B36-n"))},
    **{f"{name}.txt": case[0] for name, case in test_table_b.CAPTIONS.items()},
    "metadata.jsonl": b'{"file_name": "good.png", "text": "x"}\n[]\n{"file_name": "../../x"}',
    "metadata.csv": b"file_name,text\ngood.png,x\na,b,c",
    "other.jsonl": b'{"image": "10_x/good.png", "text": ["a", "b"]}', "good.png": saved(picture()),
    "10_x/good.png": saved(picture((4, 4, 4))), "train/good.png": saved(picture((5, 5, 5))), "README": b"hello",
    "notes.docx": b"PK\3\4", "nested.zip": b"PK\5\6" + bytes(18), "damaged.zip": b"PK\3\4 nothing",
    "broken.parquet": b"PAR1 nothing", "broken.tar": b"no tar" * 200, "good.json": b'{"caption": "beside"}',
    "../../escape.png": saved(picture((6, 6, 6))),
}


class Pack(NamedTuple):
    """Some of the pool, in one of the ways that people send things."""

    kind: str  # loose, zip, tar, jsonl (a list that names them), parquet (a table that holds them)
    names: list[str]
    zipped: bool

    def files(self, number: int, folder: Path) -> tuple[dict[str, bytes], int]:
        """The files to send, and how many a report has to count them as."""
        found, seen = self._made(number, folder)
        if not self.zipped or not found:
            return found, seen
        whole = {f"outer-{number}.zip": zipped(folder / "outer", found).read_bytes()}
        return whole, len(found) if self.kind in ("zip", "tar") else seen  # an archive in an archive is one file

    def _made(self, number: int, folder: Path) -> tuple[dict[str, bytes], int]:
        chosen = {name: POOL[name] for name in self.names}
        if self.kind == "loose":
            return chosen, len(chosen)
        if self.kind == "zip":
            return {f"a/pack-{number}.zip": zipped(folder / "zip", chosen).read_bytes()}, max(1, len(chosen))
        if self.kind == "tar":  # which holds a link besides
            return {f"pack-{number}.tar": tar(folder / "tar", chosen).read_bytes()}, len(chosen) + 1
        if self.kind == "jsonl":
            lines = [json.dumps({"image": name, "text": [f"about {name}"]}) for name in self.names]
            return {f"list-{number}.jsonl": "\n".join(lines).encode()}, 1
        held = pyarrow.table({"image": pyarrow.array([{"bytes": data, "path": name} for name, data in chosen.items()],
                                                     pyarrow.struct({"bytes": pyarrow.binary(),
                                                                     "path": pyarrow.string()})),
                              "text": pyarrow.array(self.names, pyarrow.string())})
        pyarrow.parquet.write_table(held, folder / "table")
        return {f"rows-{number}.parquet": (folder / "table").read_bytes()}, max(1, len(chosen))


names = st.lists(st.sampled_from(sorted(POOL)), unique=True, max_size=8)
kinds = st.sampled_from(["loose", "loose", "zip", "zip", "tar", "tar", "jsonl", "parquet"])
packs = st.lists(st.builds(Pack, kinds, names, st.booleans()), max_size=4)
ONE_OF_EACH = [Pack(kind, ["good.png", "B1-truncated.jpg", "10_x/good.png"], kind == "jsonl")
               for kind in ("loose", "zip", "tar", "jsonl", "parquet")]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(chosen=ONE_OF_EACH, batches=True)
@example(chosen=[Pack("parquet", [], False)], batches=False)
@given(chosen=packs, batches=st.booleans())
def test_counts_add_up(chosen: list[Pack], batches: bool) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store, uploads, workshop = folder / "a" / "b" / "home", folder / "uploads", folder / "workshop"
        for place in (store, uploads, workshop):
            place.mkdir(parents=True)
        sent: list[list[tuple[str, Path]]] = []
        expected = 0
        for number, pack in enumerate(chosen):
            files, seen = pack.files(number, workshop)
            expected += seen
            sent.append([])
            for name, data in files.items():
                path = uploads / f"{number}-{len(sent[-1])}"
                path.write_bytes(data)
                sent[-1].append((name, path))
        before = {path for path in folder.rglob("*") if store not in path.parents}
        dataset, report = imported(store, sent, batches)
        check(dataset, report, expected)
        assert {path for path in folder.rglob("*") if store not in path.parents} <= before
        assert {p.name for p in store.iterdir()} <= {"datasets", "images", "cache"}
        assert not list((store / "images").glob(".staging*")) and not list(dataset.path.glob(".spool*"))
        assert not [p for p in psutil.Process().children(recursive=True) if "studio.datasets" in " ".join(p.cmdline())]


def imported(store: Path, sent: list[list[tuple[str, Path]]], batches: bool) -> tuple[datasets.Dataset, dict]:
    """The data set of what was sent, at once or in batches that are committed together, and its report."""
    if not batches or not any(sent):
        dataset = datasets.begin(store, "mixture", "ann")
        return dataset, datasets.add(dataset, [file for batch in sent for file in batch])
    dataset = datasets.draft(store, "mixture", "ann")
    for batch in filter(None, sent):
        dataset.receive(batch)
    return dataset, datasets.commit(dataset)


def check(dataset: datasets.Dataset, report: dict, expected: int) -> None:
    """Every file has one verdict, in the report and in its table, and every row its picture."""
    assert report["seen"] == report["used"] + report["converted"] + len(report["skipped"]) == expected
    table = list(csv.reader(io.StringIO((dataset.path / "report.csv").read_text("utf-8-sig"), newline="")))[1:]
    verdicts = [verdict for _, verdict, _ in table]
    assert [verdicts.count(kind) for kind in ("used", "converted", "skipped")] == [
        report["used"], report["converted"], len(report["skipped"])] and len(verdicts) == expected
    assert all(line["reason"] for line in report["skipped"])
    waits = "receiving" if dataset.batches() else "failed"  # batches of which nothing could be taken stay
    assert dataset.state == ("ready" if dataset.count else waits)
    assert bool(report["error"]) == (not dataset.count)
    assert dataset.count <= report["used"] + report["converted"]
    assert all(row["captions"] for row in dataset.freeze())
