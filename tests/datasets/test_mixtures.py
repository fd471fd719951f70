"""Any mixture of good and bad files, loose or zipped, in any order: counts add up, nothing outside the store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import test_table_b
from .bad import picture, saved, zipped
from .conftest import bring_into

POOL = {
    **{name: case[0] for name, case in {**test_table_b.SKIPPED, **test_table_b.TAKEN}.items()
       if not name.startswith(("text-bomb", "B36-n"))},
    **{f"{name}.txt": case[0] for name, case in test_table_b.CAPTIONS.items()},
    "metadata.jsonl": b'{"file_name": "good.png", "text": "x"}\n[]\n{"file_name": "../../x"}',
    "metadata.csv": b"file_name,text\ngood.png,x\na,b,c",
    "other.jsonl": b'{"image": "10_x/good.png", "text": ["a", "b"]}', "good.png": saved(picture()),
    "10_x/good.png": saved(picture((4, 4, 4))), "train/good.png": saved(picture((5, 5, 5))), "README": b"hello",
    "notes.docx": b"PK\3\4", "nested.zip": b"PK\5\6" + bytes(18), "damaged.zip": b"PK\3\4 nothing",
    "../../escape.png": saved(picture((6, 6, 6))),
}
names = st.lists(st.sampled_from(sorted(POOL)), unique=True, max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(loose=names, packed=names, doubled=st.booleans())
def test_counts_add_up(loose: list[str], packed: list[str], doubled: bool) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store, uploads, outside = folder / "a" / "b" / "home", folder / "uploads", folder / "zips"
        uploads.mkdir()
        outside.mkdir()
        files: dict[str, bytes | Path] = {name: POOL[name] for name in loose}
        if packed:
            files["pack.zip"] = zipped(outside / "1.zip", {name: POOL[name] for name in packed})
        if packed and doubled:
            files["again/pack.zip"] = zipped(outside / "2.zip", {name: POOL[name] for name in packed})
        dataset, report = bring_into(store, uploads)(files)
        assert report["seen"] == len(loose) + len(packed) * (1 + doubled)
        assert dataset.state == ("ready" if dataset.count else "failed")
        assert bool(report["error"]) == (not dataset.count)
        assert {p.name for p in store.iterdir()} <= {"datasets", "images", "cache"}
        assert {p.name for p in folder.rglob("*") if "escape" in p.name} == set()
        assert not list((store / "images").glob(".staging*"))
        for row in dataset.freeze():
            assert len(row["captions"]) >= 1


