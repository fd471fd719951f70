"""Where strangers sign in no answer names a place of the server; where the owner is alone their own paths are told."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import pytest

from studio import storage
from studio.folders import events, work
from studio.web.middleware.redaction import PathRedactor
from studio.web.settings import Settings

from .conftest import ROOT, Server, Space, finish, make_run, tell, until


def places(server: Server) -> list[str]:
    """Whatever must not be told."""
    return [str(server.home), str(ROOT), sys.prefix, str(Path.home()) + "/", tempfile.gettempdir() + "/"]


def tell_paths(server: Server, owner: str) -> str:
    """A run that failed with messages of libraries, and a job too: everything they say names places of the server."""
    home, cache = server.home, Path.home() / ".cache" / "huggingface" / "hub" / "models--a--b" / "unet.safetensors"
    run = make_run(home, owner=owner, name=f"{home}/its own name", steps=0)
    tell(run, 3)
    writer = events.EventWriter(run.events_file)
    writer.add("warning", code="x", message=f"could not read '{cache}': [Errno 2] No such file: {sys.prefix}/lib/x.py")
    writer.add("sample", step=1, prompt_index=0, prompt=f"a cat on {home}/couch", weights="raw", file="step-1.webp",
               seed=1)
    writer.add("resumed", from_step=1, checkpoint=None, exact=False, note=f"{ROOT}/studio/x.py differs")
    writer.close()
    run.log_file.write_text(f"Traceback\n  File \"{ROOT}/studio/train/loop.py\", line 3\n"
                            f"OSError: [Errno 28] {home}/cache/.staging-1/spool (at {tempfile.gettempdir()}/tmp1/y)\n")
    finish(run, 3, "failed", error={"code": "failed", "message": f"RuntimeError: {home}/bases/2ad33a/unet: bad",
                                    "hint": f"Look at {Path.home()}/x.", "evidence": f"{sys.prefix}/bin/python"})
    record = storage.read_json(run.config_file)
    record["model"]["base"] = f"{home}/bases/2ad33a"
    storage.write_json(run.config_file, record)
    return run.id


def test_no_answer_names_a_place_of_the_server(space: Space) -> None:
    server, ada = space.server, space.sign_in("ada")
    run_id = tell_paths(server, "hf-id-of-ada")
    job = work.submit(server.home, "see", {"path": f"{server.home}/x"}, name="A job", owner="hf-id-of-ada", light=True,
                      subject="sample")
    until(lambda: ada.get(f"/api/jobs/{job.id}").json()["state"] in events.FINAL)
    dataset = ada.post("/api/datasets", files=[("files", ("a.png", b"no picture"))]).json()
    table = server.home / "datasets" / dataset["id"] / "report.csv"
    table.write_text(f"file,reason\na.png,\"{server.home}/cache/x: damaged\"\n")
    answers = {path: ada.get(path) for path in (
        "/api/runs", f"/api/runs/{run_id}", f"/api/runs/{run_id}/events", f"/api/runs/{run_id}/log", "/api/datasets",
        f"/api/runs/{run_id}/overfitting", f"/api/runs/{run_id}/series", f"/api/jobs/{job.id}", "/api/jobs",
        f"/api/datasets/{dataset['id']}", f"/api/datasets/{dataset['id']}/report.csv", "/api/machine", "/api/session",
        f"/api/runs/{run_id}/pictures", f"/api/runs/{'0' * 32}")}
    answers |= {base: ada.post("/api/runs/check", json={"config": {"model": {"base": base}}}) for base in (
        str(server.home), f"{ROOT}/studio/assets/base", "~/model", "nobody/nothing")}
    for path, answer in answers.items():
        text = answer.text
        if path in ("/api/runs", f"/api/runs/{run_id}"):  # what its owner called it stays what they called it
            assert f"{server.home}/its own name" in text
            text = text.replace(f"{server.home}/its own name", "").replace(f"a cat on {server.home}/couch", "")
        text = text.replace(f"a cat on {server.home}/couch", "")
        assert not [place for place in places(server) if place in text], (path, text[:2000])
    told = answers[f"/api/runs/{run_id}"].json()
    assert told["error"]["message"] == "RuntimeError: unet: bad" and told["config"]["model"]["base"] == "2ad33a"
    assert "unet.safetensors" in told["warnings"][0]["message"]
    assert "loop.py" in answers[f"/api/runs/{run_id}/log"].json()["text"]
    assert '"x: damaged"' in answers[f"/api/datasets/{dataset['id']}/report.csv"].text


def test_an_owner_is_told_where_things_are(server: Server) -> None:
    api = server.client()
    run_id = tell_paths(server, "local")
    record = api.get(f"/api/runs/{run_id}").json()
    assert record["error"]["message"] == f"RuntimeError: {server.home}/bases/2ad33a/unet: bad"
    assert str(ROOT) in api.get(f"/api/runs/{run_id}/log").json()["text"]


@pytest.mark.parametrize("said, told", [
    ("{home}/bases/a/unet: bad", "unet: bad"), ("at {home}", "at …"), ("at {home}.", "at …."), ("{home}/", "…"),
    ("('{home}/a b.txt')", "('a b.txt')"), ("x{home}/a", "x{home}/a"), ("{home}s/a", "{home}s/a"),
    ("{home}/a, {home}/b and {home}/c/d!", "a, b and d!"), ("file://{home}/a", "file://a"), ("", ""),
    ("{home}-old/a", "{home}-old/a"), ("plain words", "plain words")])
def test_a_path_is_told_as_its_last_part(said: str, told: str, tmp_path: Path) -> None:
    home = tmp_path / "a studio's home"
    hidden = PathRedactor(Settings(home=home, auth="hf"))
    hidden.places = [str(home)]
    assert hidden.text(said.format(home=home)) == told.format(home=home)
    assert PathRedactor(Settings(home=home)).text(said.format(home=home)) == said.format(home=home)


def test_hiding_takes_time_that_grows_with_the_text_alone(tmp_path: Path) -> None:
    hidden = PathRedactor(Settings(home=tmp_path / "home", auth="hf"))
    for part in (f"{tmp_path}/home", f"{tmp_path}/home/a ", f"{tmp_path}", "/", "a/", sys.prefix[:-1]):
        text = part * (200_000 // len(part))
        began = time.process_time()
        hidden.text(text)
        assert time.process_time() - began < 1.0, part


def test_what_people_wrote_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    hidden = PathRedactor(Settings(home=home, auth="hf"))
    data = {"items": [{"captions": [f"{home}/a"], "name": f"{home}/b", "error": f"{home}/c", "url": "/api/x"}]}
    assert hidden.data(data)["items"][0] == {**data["items"][0], "error": "c"}
    assert hidden.within(json.dumps(data)) and not hidden.within('{"a": 1}')
