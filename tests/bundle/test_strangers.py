"""Bundles that were made to do harm: a picture by its hash alone, a poisoned base, JSON, events and headers without
end. Each is refused or cut down, nothing of it stays, and reading it costs what its size lets expect."""

from __future__ import annotations

import hashlib
import json
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio import bundle, config, datasets, storage
from studio.cli.bundle import main as shell
from studio.folders import runs

from ..families import tiny
from ..limited.test_confine import plant_liar
from .conftest import Files, add, content, edit, first, refused, rewrite

MB = 1_000_000


def test_a_picture_is_proved_by_bringing_it(packed: Path, home: Path, tmp_path: Path) -> None:
    """The store of the home where the bundle was made has every picture; a bundle without them names them in vain."""
    name = first(content(packed), "images/")
    stranger = rewrite(packed, lambda files: files.pop(name))
    stored = {p: p.read_bytes() for p in (home / "images").rglob("*") if p.is_file()}
    assert Path(name).stem in {p.stem for p in stored}
    with pytest.raises(bundle.BadBundle, match="is missing") as here:
        bundle.unpack(home, stranger, "bob")
    with pytest.raises(bundle.BadBundle, match="is missing") as elsewhere:
        bundle.unpack(tmp_path / "elsewhere", stranger, "bob")
    assert str(here.value) == str(elsewhere.value), "the answer tells whether somebody has the picture"
    assert {p: p.read_bytes() for p in (home / "images").rglob("*") if p.is_file()} == stored


@pytest.mark.parametrize("change", [{"width": 4000}, {"height": 4000}, {"width": 72, "height": 64}, {"ext": "webp"},
                                    {"ext": "jpg"}])
def test_a_stored_picture_is_compared_too(packed: Path, home: Path, change: dict[str, Any]) -> None:
    with pytest.raises(bundle.BadBundle, match="its size|is missing"):
        bundle.unpack(home, rewrite(packed, edit("dataset.jsonl", **change)), "bob")


@pytest.mark.parametrize("files", [True, False])
def test_a_reader_that_lies_gets_no_other_picture(packed: Path, home: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch, files: bool) -> None:
    """One that was taken over puts a picture under the hash of another person's, or has the rows name it alone."""
    hers = home / "images" / "ab" / f"{'ab' * 32}{Path(first(content(packed), 'images/')).suffix}"
    hers.parent.mkdir(exist_ok=True)
    hers.write_bytes(b"another person's picture")
    stored = {p: p.read_bytes() for p in (home / "images").rglob("*") if p.is_file()}
    plant_liar(tmp_path, monkeypatch, hers.stem, files)
    with pytest.raises(bundle.BadBundle, match="that its name says|no row of a picture"):
        bundle.unpack(home, packed, "eve")
    assert {p: p.read_bytes() for p in (home / "images").rglob("*") if p.is_file()} == stored


@pytest.mark.parametrize("compute, trackers", [
    ({"backend": "hf_jobs", "image": "eve/keeps-your-token:latest"}, []), ({}, ["wandb", "tensorboard"])])
def test_a_strangers_settings_act_in_nobodys_name(packed: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch, compute: dict[str, str],
                                                  trackers: list[str]) -> None:
    """To go on with a run takes one's token: what it publishes, and who is given it, does not come in a bundle."""
    before = json.loads(content(packed)["config.json"])
    acting = {"hub": {"push": True, "model_id": "ada/her-best-model", "private": False},
              "compute": {**before["compute"], **compute}, "track": {**before["track"], "report_to": trackers}}
    stranger = rewrite(packed, edit("config.json", **acting))
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "elsewhere"))
    assert shell(["unpack", str(stranger)]) == 0
    (run,) = runs.every(tmp_path / "elsewhere")
    now, plain = run.config(), config.load({})
    assert now.compute.backend == "local" and now.compute.image == plain.compute.image
    assert now.hub == plain.hub and now.track.report_to == trackers[1:]
    assert run.record()["backend"] == "local"
    assert now.train.max_steps == before["train"]["max_steps"]


def with_base(path: Path, base: Path, *, claimed: dict[str, str] | None, **changed: bytes) -> Path:
    """The bundle with a base of its own, some of its files changed, and what it claims of them."""
    files = content(path)
    about = json.loads(files.pop("bundle.json"))
    settings = json.loads(files["config.json"])
    settings["model"].update(base="/elsewhere/base", family="sd")
    files["config.json"] = json.dumps(settings).encode()
    brought = {p.relative_to(base).as_posix(): p.read_bytes() for p in sorted(base.rglob("*"))
               if p.suffix in (".json", ".safetensors", ".txt")}
    brought |= {name.replace("__", "/"): data for name, data in changed.items()}
    files |= {f"base/{name}": data for name, data in brought.items()}
    about["base"] = {"name": "base", **({} if claimed is None else {"files": claimed})}
    about["files"] = {n: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()}
    target = path.with_name(f"with-base-{time.monotonic_ns()}.zip")
    with zipfile.ZipFile(target, "w") as made:
        for name, data in {"bundle.json": json.dumps(about).encode(), **files}.items():
            made.writestr(name, data)
    return target


def hashes(base: Path) -> dict[str, str]:
    return {p.relative_to(base).as_posix(): storage.sha256_file(p) for p in base.rglob("*")
            if p.suffix in (".json", ".safetensors", ".txt")}


def test_a_base_is_compared_before_it_takes_its_place(packed: Path, tmp_path: Path) -> None:
    base, home = tiny.make(tmp_path / "base"), tmp_path / "elsewhere"
    scheduler = (base / "scheduler/scheduler_config.json").read_bytes().replace(b"1000", b"1001")
    poisoned = with_base(packed, base, claimed=hashes(base), **{"scheduler__scheduler_config.json": scheduler})
    with pytest.raises(bundle.BadBundle, match="not the file that the run began with"):
        bundle.unpack(home, poisoned, "bob")
    assert not [p for p in home.rglob("*") if p.is_file()], "nothing of it is kept"
    honest = bundle.unpack(home, with_base(packed, base, claimed=hashes(base)), "ada")
    unlisted = bundle.unpack(home, with_base(packed, base, claimed=None, **{
        "scheduler__scheduler_config.json": scheduler}), "bob")
    first_, second = (Path(run.config().model.base) for run in (honest, unlisted))
    assert first_ != second and hashes(first_) == hashes(base)
    assert (second / "scheduler/scheduler_config.json").read_bytes() == scheduler
    again = bundle.unpack(home, with_base(packed, base, claimed=hashes(base)), "eve")
    assert again.config().model.base == str(first_) and len(list((home / "bases").iterdir())) == 2


def test_a_refused_bundle_leaves_no_picture(packed: Path, tmp_path: Path) -> None:
    def refuse(config: config.Config) -> config.Config:
        raise bundle.BadBundle("not here")

    home = tmp_path / "elsewhere"
    with pytest.raises(bundle.BadBundle, match="not here"):
        bundle.unpack(home, packed, "bob", refuse)
    refused(rewrite(packed, add("checkpoints/checkpoint-4/extra.json", b"{}")), home, "does not list")
    assert not [p for p in home.rglob("*") if p.is_file()]


# ---------------------------------------------------------------------------------------------------- what has no end


def header(tensors: Any, length: int | None = None, data: bytes = b"") -> bytes:
    text = tensors if isinstance(tensors, bytes) else json.dumps(tensors, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[Any], start: Any, stop: Any, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


HEADERS = {
    "a header of 100 MB": header(b" " * 100 * MB), "a header of lists": header(b"[" + b"[]," * 5 * MB + b"1]"),
    "a header of objects": header(b'{"a":[' + b"{}," * 5 * MB + b"1]}"), "nested": header(b"[" * 10**6),
    "a length of 10^18": header({}, 10**18), "a length beyond the file": header({"a": entry([1], 0, 4)}, 500),
    "overlapping": header({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, data=bytes(12)),
    "a gap": header({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, data=bytes(12)),
    "cut short": header({"a": entry([8], 0, 32)}, data=bytes(16)), "more than said": header({}, data=bytes(64)),
    "a negative shape": header({"a": entry([-1, -4], 0, 16)}, data=bytes(16)),
    "10^18 values": header({"a": entry([10**9, 10**9], 0, 4)}, data=bytes(4)),
    "numbers as text": header({"a": entry(["1"], "0", "4")}, data=bytes(4)),
    "backwards": header({"a": entry([1], 4, 0)}, data=bytes(4)), "a huge number": header(b'{"a":' + b"9" * MB + b"}"),
    "200,000 tensors": header({f"{n:x}": entry([0], 0, 0) for n in range(200_000)}),
    "no object": header(b"[]"), "no JSON": header(b"{"), "empty": b"", "metadata of numbers": header(
        {"__metadata__": {"a": [[[1]]] * 100}, "b": {}}),
}


def measured(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of this process's own processor, and MB that its memory grew at most."""
    before, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return time.process_time() - before, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024


def with_weights(packed: Path, data: bytes) -> Path:
    """The bundle with other weights in its checkpoint, as its manifest lists them."""
    def change(files: Files) -> None:
        place = first(files, "checkpoints/checkpoint-4/transformer/d")
        files[place] = data
        manifest = json.loads(files["checkpoints/checkpoint-4/manifest.json"])
        manifest["files"][place.split("/", 2)[2]].update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        files["checkpoints/checkpoint-4/manifest.json"] = json.dumps(manifest).encode()

    return rewrite(packed, change)


def test_numbers_of_a_kind_that_is_not_trained_are_named(packed: Path, tmp_path: Path) -> None:
    """F32 beside them is none of these."""
    data = header({"a": entry([1], 0, 4), "b": entry([4], 4, 8, "F8_E4M3")}, data=bytes(8))
    refused(with_weights(packed, data), tmp_path / "elsewhere", r"not trained here \(F8_E4M3\)")


@pytest.mark.parametrize("name", HEADERS)
def test_weights_are_looked_at(packed: Path, tmp_path: Path, name: str) -> None:
    hostile = with_weights(packed, HEADERS[name])
    seconds, grown = measured(lambda: refused(hostile, tmp_path / "elsewhere", "is not a safetensors file"))
    assert seconds < 1 and grown < 50, (seconds, grown)


@pytest.mark.parametrize(("name", "data", "says"), [
    ("config.json", b"[" + b"[]," * 25 * MB + b"1]", "at most"), ("config.json", b"[" * MB, "not JSON"),
    ("config.json", b"[" + b"[]," * 300_000 + b"1]", "object"), ("config.json", b'{"a":' * 1000 + b"1", "not JSON"),
    ("config.json", b"9" * MB, "not JSON|object"), ("edits.json", b'{"edits":[' + b"{}," * 300_000 + b"1]}", "edit"),
    ("edits.json", b"[" + b"[]," * 25 * MB + b"1]", "at most"),
    ("checkpoints/checkpoint-4/state.json", b"[" * 10 * MB, "does not list|not JSON|instead of"),
    ("dataset.jsonl", b"[" * MB, "not JSON"), ("dataset.jsonl", b"{}" * 40 * MB, "at most"),
    ("dataset.jsonl", b"\n" * 300_000, "not JSON"), ("dataset.jsonl", b'{"image": "\\ud800"}', "no row"),
    ("train.sbatch", b"x" * 2 * MB, "at most"), ("samples/a.webp", b"<html>", "no WebP"),
    ("samples/a.webp", b"RIFF0000WEBP" + bytes(40 * MB), "at most"),
])
def test_json_and_rows_without_end(packed: Path, tmp_path: Path, name: str, data: bytes, says: str) -> None:
    hostile = rewrite(packed, add(name, data))
    seconds, grown = measured(lambda: refused(hostile, tmp_path / "elsewhere", says))
    assert seconds < 1.5 and grown < 50, (seconds, grown)


@pytest.mark.parametrize("made", ['', '"time": null,', '"time": "now",', '"time": 1e999,'])
def test_an_edit_says_when_it_was_made(packed: Path, tmp_path: Path, made: str) -> None:
    """Every record of a run tells it: one that could not be told would keep its owner from all of their runs."""
    edits = '{"edits": [{"id": "", "step": 1, %s "config": {"train": {"max_steps": 900}}}]}'
    refused(rewrite(packed, add("edits.json", (edits % made).encode())), tmp_path / "elsewhere", "the time at which")
    bundle.unpack(tmp_path / "elsewhere", rewrite(packed, add("edits.json", (edits % '"time": 5.5,').encode())), "ada")


def test_a_directory_without_end(packed: Path, tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as made:
        for number in range(310_000):
            made.writestr(f"{number:x}", b"")
    seconds, grown = measured(lambda: refused(path, tmp_path / "elsewhere", "at most 300,000"))
    assert seconds < 1 and grown < 50, (seconds, grown)
    files = {f"images/{number:064x}.webp": {"size": 0, "sha256": "0" * 64} for number in range(200_000)}
    about = {"bundle": 1, "run": {}, "base": {}, "files": files}
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("bundle.json", json.dumps(about))
    seconds, grown = measured(lambda: refused(path, tmp_path / "elsewhere", "are not those"))
    assert seconds < 1 and grown < 50, (seconds, grown)


def test_what_bundle_json_says_is_held_to_patterns(packed: Path, tmp_path: Path) -> None:
    files = content(packed)
    about = json.loads(files["bundle.json"])
    evil = "../../../oauth/huggingface/logout"
    about["run"] = {"id": evil, "name": "x" * 10_000, "attempt": 10**30, "dataset": {"id": evil, "name": [evil] * 999,
                    "fingerprint": evil}, "parent": {"id": evil, "checkpoint": evil, "changes": [evil * 999] * 999}}
    with zipfile.ZipFile(tmp_path / "said.zip", "w") as made:
        for name, data in {**files, "bundle.json": json.dumps(about).encode()}.items():
            made.writestr(name, data)
    run = bundle.unpack(tmp_path / "elsewhere", tmp_path / "said.zip", "bob")
    record = run.record()
    assert record["parent"] == {"bundle": ""} and record["dataset"]["id"] == record["dataset"]["fingerprint"] == ""
    assert len(record["name"]) == len(record["dataset"]["name"]) == 200 and record["attempt"] == 1


EVENTS: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({"kind": "sample", "step": 1, "file": "../../../oauth/huggingface/logout"}, None),
    ({"kind": "sample", "step": 1, "file": "a b.webp"}, None), ({"kind": "sample", "step": 1, "file": "a.html"}, None),
    ({"kind": "sample", "step": 1, "file": "javascript:alert(1).png"}, None),
    ({"kind": "sample", "step": 1, "file": "step-000001-p0-ema.webp", "prompt": "x", "junk": [[]] * 99},
     {"kind": "sample", "step": 1, "file": "step-000001-p0-ema.webp", "prompt": "x"}),
    ({"kind": "retired", "name": "../../x"}, None), ({"kind": "surprise", "text": "x" * 999}, None),
    ({"kind": "checkpoint", "step": 2, "name": "../x", "bytes": 1}, {"kind": "checkpoint", "step": 2, "bytes": 1}),
    ({"kind": "step", "step": 10**400, "loss": 1, "lr": 1, "seconds": 1}, None),
    ({"kind": "step", "step": 1, "loss": 1e999, "lr": 1, "seconds": 1},
     {"kind": "step", "step": 1, "loss": None, "lr": 1, "seconds": 1}),
    ({"kind": "step", "step": 3, "loss": None, "lr": 1e-4, "seconds": 1, "grad_norm": "high", "pictures": [[]]},
     {"kind": "step", "step": 3, "loss": None, "lr": 1e-4, "seconds": 1}),
    ({"kind": "warning", "code": "<b>", "message": "x" * 99_999}, {"kind": "warning"}),
    ({"kind": "attempt", "attempt": 1, "versions": {"a": "x" * 99_999}, "device": "cpu"},
     {"kind": "attempt", "attempt": 1, "device": "cpu"}),
    ({"kind": "end", "result": "failed", "step": 1, "error": {"code": "x", "message": "y" * 99_999, "evil": 1}},
     {"kind": "end", "result": "failed", "step": 1, "error": {"code": "x", "message": "y" * 2000, "hint": "",
                                                              "evidence": ""}}),
]


def test_events_are_cut_down_to_ours(packed: Path, tmp_path: Path) -> None:
    ours = content(packed)["events.jsonl"]
    lines = [json.dumps({"seq": number, "time": 1.0, **event}) for number, (event, _) in enumerate(EVENTS, 1000)]
    kept = [{"seq": number, "time": 1.0, **left} for number, (_, left) in enumerate(EVENTS, 1000) if left]
    torn = b'{"seq": 9, "kind": "st' + b"x" * 3 * MB
    path = rewrite(packed, add("events.jsonl", ours + "\n".join([*lines, "[" * 99_999, "\ud83d"]).encode(
        "utf-8", "surrogatepass") + b"\n" + torn))
    run = bundle.unpack(tmp_path / "elsewhere", path, "bob")
    found = [json.loads(line) for line in run.events_file.read_text().splitlines()]
    before = [json.loads(line) for line in ours.splitlines()]
    assert found == [*before, *kept], "our own events come through as they are"
    assert runs.EventReader().state(run)[0] in ("paused", "stopped", "failed")


def test_events_without_end_fit_into_a_reader(packed: Path, tmp_path: Path) -> None:
    sample = json.dumps({"seq": 1, "kind": "sample", "step": 1, "file": "a.webp", "prompt": "x" * 9000}).encode()
    step = b'{"seq":1,"kind":"step","step":1,"loss":1,"lr":1,"seconds":1}\n'
    path = rewrite(packed, add("events.jsonl", (sample + b"\n") * 6000 + step * 1_200_000))
    run = bundle.unpack(tmp_path / "elsewhere", path, "bob")
    seconds, grown = measured(lambda: runs.EventReader().history(run))
    assert run.events_file.stat().st_size < 80 * MB and grown < 100, (seconds, grown)


def test_twice_the_bundle_takes_twice_the_time(packed: Path, tmp_path: Path) -> None:
    """Reading is linear: in rows, events, tensors and entries."""
    row = content(packed)["dataset.jsonl"].splitlines()[0] + b"\n"
    event = b'{"seq":1,"kind":"step","step":1,"loss":1,"lr":1,"seconds":1}\n'

    def took(times: int) -> float:
        path = rewrite(packed, lambda files: files.update({
            "dataset.jsonl": files["dataset.jsonl"] + row * (20_000 * times), "events.jsonl": event * (60_000 * times),
            **{f"samples/{n}.webp": b"RIFF0000WEBP" for n in range(2000 * times)}}))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        bundle.unpack(tmp_path / f"elsewhere-{times}", path, "bob")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    took(1)
    assert took(4) < 4 * took(2), "four times as much would be a square"


def test_a_data_set_of_a_bundle_trains_as_before(packed: Path, tmp_path: Path) -> None:
    """What is honest comes through byte for byte: rows, events and checkpoint."""
    run, files = bundle.unpack(tmp_path / "elsewhere", packed, "bob"), content(packed)
    assert run.rows_file.read_bytes() == files["dataset.jsonl"]
    assert [json.loads(x) for x in run.events_file.read_bytes().splitlines()] == [
        json.loads(x) for x in files["events.jsonl"].splitlines()]
    for name, data in files.items():
        if name.startswith(("checkpoints/", "samples/")):
            assert (run.path / name).read_bytes() == data
    for row in run.rows():
        assert datasets.picture_path(tmp_path / "elsewhere", row).is_file()
