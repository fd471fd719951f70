"""A run travels as one zip: it goes on bit for bit elsewhere, and a bundle that was tampered with leaves nothing."""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio import bundle, storage
from studio.folders import runs
from studio.train.parallel import distributed

from ..train.conftest import Make, curve, fingerprint, told, train
from .conftest import Files, add, content, edit, first, pictures, refused, rewrite, stopped


def test_a_run_goes_on_elsewhere_bit_for_bit(make: Make, packed: Path, tmp_path: Path, home: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(rows=pictures(home))
    assert train(whole) == "finished"
    elsewhere = tmp_path / "elsewhere"
    run = bundle.unpack(elsewhere, packed, "somebody")
    reader = runs.EventReader()
    assert reader.state(run)[0] == "stopped" and run.record()["owner"] == "somebody"
    assert list((run.path / "samples").iterdir()) and len(list((elsewhere / "images").rglob("*.png"))) == 6
    runs.resume(run, reader)
    storage.write_json(run.process_file, {**run.process(), "attempt": run.attempts()[0]})
    assert train(run) == "finished"
    resumed = told(run, "resumed")[-1]
    assert (resumed["from_step"], resumed["checkpoint"], resumed["exact"]) == (4, "checkpoint-4", True)
    assert (curve(run), fingerprint(run, 8)) == (curve(whole), fingerprint(whole, 8))
    assert not list((elsewhere / "runs").glob(f"{storage.STAGING}*"))


def test_another_kind_of_machine_says_that_it_is_not_exact(packed: Path, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    run = bundle.unpack(tmp_path / "elsewhere", packed, "")
    runs.resume(run, runs.EventReader())
    monkeypatch.setattr(distributed, "_cpu_name", lambda: "another processor")
    assert train(run) == "finished"
    resumed = told(run, "resumed")[-1]
    assert not resumed["exact"] and "device was" in resumed["note"]


def test_a_bundle_to_start_with_has_no_more_than_that(make: Make, tmp_path: Path, home: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    bundle.write(stopped(make, monkeypatch, home), tmp_path / "start.zip", start=True)
    names = set(content(tmp_path / "start.zip"))
    assert {n for n in names if "/" not in n} == {"bundle.json", "config.json", "dataset.jsonl", "train.sbatch"}
    assert {n.split("/")[0] for n in names if "/" in n} == {"images"}
    run = bundle.unpack(tmp_path / "elsewhere", tmp_path / "start.zip", "")
    assert runs.EventReader().state(run)[0] == "paused" and next(run.valid_checkpoints(), None) is None


# ------------------------------------------------------------------------------------------------- hostile bundles


@pytest.mark.parametrize(("change", "says"), [
    (add("../evil.json"), "no file"), (add("/etc/evil.json"), "no file"), (add("images/../../evil.webp"), "no file"),
    (add("checkpoints/checkpoint-4/optimizer.pkl"), "no file"), (add("checkpoints/checkpoint-4/x.pt"), "no file"),
    (add("checkpoints/checkpoint-4/unet/evil.bin"), "no file"), (add("base/unet/model.py"), "no file"),
    (add("samples/a.html"), "no file"), (add("checkpoints/checkpoint-4/extra.json", b"{}"), "does not list"),
    (lambda files: files.pop("config.json"), "config.json"), (lambda files: files.pop("dataset.jsonl"), "missing"),
    (lambda files: files.pop(first(files, "images/")), "is missing"),
    (lambda files: files.update({first(files, "images/"): b"not a picture"}), "is not the picture"),
    (lambda files: files.update({first(files, "checkpoints/checkpoint-4/transformer/d"): b"0"}), "bytes instead of"),
    (edit("dataset.jsonl", image="../../x"), "is no row"), (edit("dataset.jsonl", width=999), "its size"),
    (edit("dataset.jsonl", captions="x"), "is no row"), (edit("dataset.jsonl", repeats=-1), "is no row"),
    (edit("dataset.jsonl", crop=[1]), "is no row"), (edit("config.json", surprise={}), "surprise"),
    (edit("config.json", model={"base": "/etc"}), "does not bring"), (edit("config.json", train={}), "not resolved"),
])
def test_what_a_bundle_must_not_be(packed: Path, tmp_path: Path, change: Callable[[Files], Any], says: str) -> None:
    refused(rewrite(packed, change), tmp_path / "elsewhere", says)


def test_wrong_hashes_and_sizes(packed: Path, tmp_path: Path) -> None:
    def flip(files: Files) -> None:
        name = first(files, "checkpoints/checkpoint-4/optimizer.s")
        files[name] = bytes([files[name][0] ^ 1]) + files[name][1:]

    refused(rewrite(packed, flip, listed=False), tmp_path / "elsewhere", "does not match its SHA-256")
    refused(rewrite(packed, add("samples/a.webp"), listed=False), tmp_path / "elsewhere", "are not those")
    refused(rewrite(packed, edit("config.json", ema={}), listed=False), tmp_path / "elsewhere", "another size")


def test_a_base_that_is_another_here(packed: Path, tmp_path: Path) -> None:
    files = content(packed)
    about = json.loads(files["bundle.json"])
    about["base"] = {"name": "embedded", "files": {"model_index.json": "0" * 64}}
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as made:
        for name, data in {**files, "bundle.json": json.dumps(about).encode()}.items():
            made.writestr(name, data)
    refused(tmp_path / "other.zip", tmp_path / "elsewhere", "not the file that the run began with")


def test_bombs_links_and_what_is_no_zip(packed: Path, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    bomb = rewrite(packed, add("samples/a.webp", bytes(1 << 20)), compression=zipfile.ZIP_DEFLATED)
    refused(bomb, home, "compressed")
    (tmp_path / "text.zip").write_text("hello")
    refused(tmp_path / "text.zip", home, "not a whole zip")
    (tmp_path / "cut.zip").write_bytes(packed.read_bytes()[:-200])
    refused(tmp_path / "cut.zip", home, "not a whole zip")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as made:
        made.writestr("hello.txt", "x")
    refused(tmp_path / "foreign.zip", home, "does not begin with")
    link = zipfile.ZipInfo("samples/a.webp")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    about = json.loads(content(packed)["bundle.json"])
    about["files"] = {"samples/a.webp": {"size": 11, "sha256": hashlib.sha256(b"/etc/passwd").hexdigest()}}
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as made:
        made.writestr("bundle.json", json.dumps(about))
        made.writestr(link, "/etc/passwd")
    refused(tmp_path / "link.zip", home, "config.json")
