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

from studio import bundle, config, datasets, runs, storage
from studio.train import host

from ..train.conftest import Make, curve, fingerprint, make, picture, told, train  # noqa: F401
from ..train.conftest import _toy as _toy
from ..train.test_loop import ask_at

Files = dict[str, bytes]


def pictures(home: Path) -> list[dict[str, Any]]:
    """Six rows whose pictures are named by their content, as an import names them."""
    rows = []
    for number in range(6):
        row = picture(home, number, (64, 72))
        path = datasets.picture_path(home, row)
        row["image"] = storage.sha256_file(path)
        datasets.picture_path(home, row).parent.mkdir(parents=True, exist_ok=True)
        path.rename(datasets.picture_path(home, row))
        rows.append(row)
    return rows


def stopped(make: Make, monkeypatch: pytest.MonkeyPatch, home: Path) -> runs.Run:  # noqa: F811
    """A run of larger pictures, stopped at step 4 of 8."""
    run = make(rows=pictures(home))
    with monkeypatch.context() as patch:
        ask_at(run, patch, 4, ("stop", {}))
        assert train(run) == "stopped"
    return run


@pytest.fixture
def packed(make: Make, monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path) -> Path:  # noqa: F811
    """The bundle of such a run."""
    bundle.write(stopped(make, monkeypatch, home), tmp_path / "run.zip")
    return tmp_path / "run.zip"


def content(path: Path) -> Files:
    """Every file of a zip."""
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def test_a_run_goes_on_elsewhere_bit_for_bit(make: Make, packed: Path, tmp_path: Path, home: Path,  # noqa: F811
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(rows=pictures(home))
    assert train(whole) == "finished"
    elsewhere = tmp_path / "elsewhere"
    run = bundle.unpack(elsewhere, packed, "somebody")
    reader = runs.Reader()
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
    runs.resume(run, runs.Reader())
    monkeypatch.setattr(host, "_cpu_name", lambda: "another processor")
    assert train(run) == "finished"
    resumed = told(run, "resumed")[-1]
    assert not resumed["exact"] and "device was" in resumed["note"]


def test_a_bundle_to_start_with_has_no_more_than_that(make: Make, tmp_path: Path, home: Path,  # noqa: F811
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    bundle.write(stopped(make, monkeypatch, home), tmp_path / "start.zip", start=True)
    names = set(content(tmp_path / "start.zip"))
    assert {n for n in names if "/" not in n} == {"bundle.json", "config.json", "dataset.jsonl", "train.sbatch"}
    assert {n.split("/")[0] for n in names if "/" in n} == {"images"}
    run = bundle.unpack(tmp_path / "elsewhere", tmp_path / "start.zip", "")
    assert runs.Reader().state(run)[0] == "paused" and next(run.valid_checkpoints(), None) is None


# ------------------------------------------------------------------------------------------------- hostile bundles


def rewrite(path: Path, change: Callable[[Files], Any], *, listed: bool = True, **options: Any) -> Path:
    """The bundle with its files changed and (`listed`) its list of files made to agree."""
    files = content(path)
    about = json.loads(files.pop("bundle.json"))
    change(files)
    if listed:
        about["files"] = {n: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()}
    target = path.with_name("hostile.zip")
    with zipfile.ZipFile(target, "w", **options) as made:
        made.writestr("bundle.json", json.dumps(about), compress_type=zipfile.ZIP_STORED)
        for name, data in files.items():
            made.writestr(name, data)
    return target


def edit(name: str, **changes: Any) -> Callable[[Files], None]:
    """Change fields of the first JSON line of a file."""

    def change(files: Files) -> None:
        first, *rest = files[name].decode().splitlines()
        data = json.loads(first if name.endswith("l") else files[name])
        data.update(changes)
        files[name] = "\n".join([json.dumps(data), *(rest if name.endswith("l") else [])]).encode()

    return change


def add(name: str, data: bytes = b"x") -> Callable[[Files], None]:
    return lambda files: files.update({name: data})


def first(files: Files, start: str) -> str:
    return next(name for name in sorted(files) if name.startswith(start))


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


def refused(path: Path, home: Path, says: str) -> None:
    """The bundle is refused with these words, and no run, no picture and no other file is there afterwards."""
    with pytest.raises((bundle.BadBundle, config.ConfigError), match=says):
        bundle.unpack(home, path, "")
    left = [p for p in home.rglob("*") if p.is_file() and "images" not in p.parts]
    assert not left and not [p for p in (home / "runs").iterdir()]
    for picture_ in (p for p in home.rglob("*") if p.is_file()):
        assert storage.sha256_file(picture_) == picture_.stem
    assert not list(home.parent.glob("evil*")) and not (home / "evil.json").exists()


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
