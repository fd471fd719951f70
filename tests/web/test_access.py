"""Who may do what: every route of the app x {nobody, the owner A, another person B}, with a real sign-in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from PIL import Image

from studio.web import access
from studio.web.app import create_app
from studio.web.settings import Settings

from .conftest import Space, make_run

RUN, SET, JOB = "/api/runs/{run_id}", "/api/datasets/{dataset_id}", "/api/jobs/{job_id}"
NOBODYS, OWN, READ, WRITE = "open to everyone", "a list of one's own", "read", "write"
# What each route asks of its viewer. A route that is not here fails the test.
ROUTES: dict[tuple[str, str], str] = {
    ("GET", "/healthz"): NOBODYS, ("GET", "/readyz"): NOBODYS, ("GET", "/api/config/schema"): NOBODYS,
    ("GET", "/docs"): NOBODYS, ("GET", "/api/openapi.json"): NOBODYS,  # where nobody signs in
    ("GET", "/api/machine"): NOBODYS, ("GET", "/api/session"): NOBODYS,
    ("GET", "/oauth/huggingface/login"): NOBODYS, ("GET", "/oauth/huggingface/callback"): NOBODYS,
    ("GET", "/oauth/huggingface/logout"): NOBODYS,
    ("GET", "/api/runs"): OWN, ("GET", "/api/queue"): OWN, ("GET", "/api/datasets"): OWN,
    ("POST", "/api/runs"): "create", ("POST", "/api/datasets"): "create", ("POST", "/api/runs/check"): NOBODYS,
    ("POST", "/api/runs/probe"): "create",
    ("POST", "/api/runs/estimate"): NOBODYS, ("GET", "/api/presets"): OWN, ("POST", "/api/presets"): "create",
    ("DELETE", "/api/presets/{preset_id}"): WRITE,
    ("POST", "/api/queue"): WRITE, ("GET", "/api/usage"): OWN,
    ("GET", RUN): READ, ("PATCH", RUN): WRITE, ("DELETE", RUN): WRITE, ("POST", f"{RUN}/{{kind}}"): WRITE,
    ("GET", f"{RUN}/events"): READ, ("GET", f"{RUN}/log"): READ, ("GET", f"{RUN}/series"): READ,
    ("GET", f"{RUN}/series.csv"): READ,
    ("GET", f"{RUN}/samples/{{name}}"): READ, ("GET", f"{RUN}/files"): READ,
    ("GET", f"{RUN}/files/{{path:path}}"): READ, ("HEAD", f"{RUN}/files/{{path:path}}"): READ,
    ("GET", f"{RUN}/bundle"): READ, ("HEAD", f"{RUN}/bundle"): READ, ("POST", "/api/runs/import"): "create",
    ("GET", f"{RUN}/votes"): READ, ("POST", f"{RUN}/draw"): WRITE,
    ("GET", f"{RUN}/overfitting"): READ, ("POST", f"{RUN}/overfitting"): WRITE,
    ("GET", f"{RUN}/pictures"): READ, ("POST", f"{RUN}/publish"): WRITE, ("POST", f"{RUN}/branch"): WRITE,
    ("POST", f"{RUN}/edit"): WRITE,
    ("POST", "/api/config/from-command"): NOBODYS,
    ("GET", "/api/jobs"): OWN, ("GET", JOB): READ, ("DELETE", JOB): WRITE, ("GET", f"{JOB}/events"): READ,
    ("GET", f"{JOB}/votes"): READ, ("POST", f"{JOB}/votes"): WRITE,
    ("POST", f"{JOB}/cancel"): WRITE, ("GET", f"{JOB}/files/{{name}}"): READ, ("HEAD", f"{JOB}/files/{{name}}"): READ,
    ("GET", f"{SET}/health"): READ, ("POST", f"{SET}/health"): WRITE, ("POST", f"{SET}/fix"): WRITE,
    ("GET", f"{SET}/images/{{pid}}/tokens"): READ, ("POST", f"{SET}/images/{{pid}}/see"): WRITE,
    ("GET", f"{SET}/tags"): READ, ("POST", f"{SET}/captions"): WRITE, ("POST", f"{SET}/caption"): WRITE,
    ("GET", f"{SET}/suggestions"): READ, ("POST", f"{SET}/suggestions"): WRITE,
    ("GET", f"{SET}/arrived"): WRITE, ("POST", f"{SET}/read-again"): WRITE,
    ("POST", f"{SET}/commit"): WRITE, ("POST", f"{SET}/cancel"): WRITE,
    ("GET", f"{SET}/report.csv"): READ, ("GET", f"{SET}/export"): READ, ("HEAD", f"{SET}/export"): READ,
    ("POST", f"{SET}/push"): WRITE,
    ("POST", "/api/datasets/preview"): "create",
    ("GET", SET): READ, ("PATCH", SET): WRITE, ("DELETE", SET): WRITE, ("GET", f"{SET}/report"): READ,
    ("POST", f"{SET}/undo"): WRITE, ("POST", f"{SET}/images"): WRITE, ("GET", f"{SET}/images"): READ,
    ("GET", f"{SET}/images/{{pid}}"): READ, ("PATCH", f"{SET}/images/{{pid}}"): WRITE,
    ("GET", f"{SET}/images/{{pid}}/thumb"): READ,
    ("GET", "/api/trash"): OWN, ("POST", "/api/trash/empty"): "create",
    ("POST", "/api/trash/{entry_id}/restore"): WRITE, ("DELETE", "/api/trash/{entry_id}"): WRITE,
    **{(method, "/api/{path:path}"): "nothing" for method in ("GET", "POST", "PUT", "PATCH", "DELETE")},
}
MOUNTS = {"/static", ""}  # files of the page, and the Gradio pages: tests/web/test_gradio.py


def test_every_route_is_in_the_table(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path))
    found = {(method, route.path) for route in _flat(app.routes) if isinstance(route, APIRoute)
             for method in route.methods}
    missing = found - set(ROUTES)
    assert not missing, f"say in ROUTES what these ask of their viewer: {sorted(missing)}"
    assert {r.path for r in app.routes if not isinstance(r, APIRoute) and hasattr(r, "app")} <= MOUNTS


def _flat(routes: list[Any]) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if isinstance(route, APIRoute) or inner is None:
            yield route
        else:
            yield from _flat(inner.routes)


@pytest.fixture(scope="module")
def people(space: Space, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ada with a run and a data set, Bob, and nobody."""
    ada, bob, nobody = space.sign_in("ada"), space.sign_in("bob"), space.server.client()
    run = make_run(space.server.home, owner="hf-id-of-ada", name="Ada's secret run", steps=3)
    picture = tmp_path_factory.mktemp("pictures") / "p.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    files = [("files", ("secret.png", picture.read_bytes())), ("files", ("secret.txt", b"ada's secret caption"))]
    made = ada.post("/api/datasets", data={"name": "Ada's secret set"}, files=files)
    assert made.status_code == 201, made.text
    pid = ada.get(f"/api/datasets/{made.json()['id']}/images").json()["items"][0]["id"]
    preset = ada.post("/api/presets", json={"name": "Ada's secret preset", "config": {"lora": {"rank": 4}}}).json()
    unwanted = ada.post("/api/presets", json={"name": "Ada's secret mistake", "config": {}}).json()
    assert ada.delete(f"/api/presets/{unwanted['id']}").status_code == 204
    (deleted,) = ada.get("/api/trash").json()["items"]
    return {"ada": ada, "bob": bob, "nobody": nobody, "run": run.id, "set": made.json()["id"], "pid": pid,
            "preset": preset["id"], "trash": deleted["id"],
            "job": ada.post(f"/api/datasets/{made.json()['id']}/health").json()["id"]}


def call(client: httpx.Client, method: str, path: str, people: dict[str, Any]) -> httpx.Response:
    """The route with Ada's ids in it and the smallest body that it takes."""
    kind = "stop" if "{kind}" in path else "x"
    filled = (path.replace("{run_id}", people["run"]).replace("{dataset_id}", people["set"]).replace("{kind}", kind)
              .replace("{pid}", people["pid"]).replace("{path:path}", "config.json").replace("{name}", "x.webp")
              .replace("{preset_id}", people["preset"]).replace("{job_id}", people["job"])
              .replace("{entry_id}", people["trash"]))
    bodies: dict[str, Any] = {"/api/queue": {"order": [people["run"]]}, RUN: {"name": "taken"}, SET: {"name": "taken"},
                              f"{SET}/images/{{pid}}": {"caption": "taken"}}
    if method == "POST" and path in ("/api/datasets", f"{SET}/images"):
        return client.request(method, filled, files=[("files", ("x.txt", b"x"))])
    body = bodies.get(path, {}) if method in ("POST", "PATCH") else None
    return client.request(method, filled, json=body) if body is not None else client.request(method, filled)


@pytest.mark.parametrize("method, path", [k for k, v in ROUTES.items() if v in (READ, WRITE)])
def test_another_persons_things_are_not_there(people: dict[str, Any], method: str, path: str) -> None:
    """404 for Bob, whatever he tries, in the same words as for an id that never was; 401 or 404 for nobody."""
    theirs = call(people["bob"], method, path, people)
    assert theirs.status_code == 404, theirs.text
    absent = {**people, "run": "0" * 32, "set": "0" * 32, "preset": "0" * 32, "job": "0" * 32, "trash": "0" * 32}
    never = call(people["bob"], method, path, absent)
    if method != "HEAD":
        assert theirs.json()["error"]["message"].replace("picture", "") == never.json()["error"]["message"].replace(
            "picture", "")
    assert call(people["nobody"], method, path, people).status_code == (401 if ROUTES[method, path] == WRITE else 404)


@pytest.mark.parametrize("method, path", [k for k, v in ROUTES.items() if v == "create"])
def test_nobody_creates_nothing(people: dict[str, Any], method: str, path: str) -> None:
    answer = call(people["nobody"], method, path, people)
    assert answer.status_code == 401 and "sign in" in answer.json()["error"]["message"].lower()


def test_only_an_administrator_empties_everybodys_trash(people: dict[str, Any]) -> None:
    asked = {"json": {"everybody": True}}
    assert people["nobody"].post("/api/trash/empty", **asked).status_code == 401
    for who in ("ada", "bob"):
        answer = people[who].post("/api/trash/empty", **asked)
        assert answer.status_code == 403 and "administrator" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [p for (m, p), v in ROUTES.items() if v == OWN])
def test_lists_hold_nothing_of_others(people: dict[str, Any], path: str) -> None:
    for who in ("bob", "nobody"):
        text = people[who].get(path).text
        assert "ecret" not in text and people["run"] not in text and people["set"] not in text


def test_the_owner_has_all_of_it(people: dict[str, Any]) -> None:
    ada = people["ada"]
    for (method, path), need in ROUTES.items():
        if need == READ and not any(word in path for word in ("{name}", "bundle")):  # of real files: other tests
            answer = call(ada, method, path, people)
            assert answer.status_code == 200, (path, answer.text)
    assert ada.patch(f"/api/runs/{people['run']}", json={"name": "Mine"}).json()["name"] == "Mine"
    assert ada.get("/api/session").json() == {
        "auth": "hf", "signed_in": True, "name": "ada", "may_create": True, "administrator": False,
        "login": "/oauth/huggingface/login",
        "logout": "/oauth/huggingface/logout", "import_roots": []}
    assert people["nobody"].get("/api/session").json()["signed_in"] is False
    assert [d["id"] for d in people["nobody"].get("/api/datasets").json()["items"]] == ["sample"]


def test_the_shipped_set_is_copied_by_who_edits_it(people: dict[str, Any]) -> None:
    pid = people["bob"].get("/api/datasets/sample/images?limit=1").json()["items"][0]["id"]
    assert people["nobody"].patch(f"/api/datasets/sample/images/{pid}", json={"caption": "x"}).status_code == 401
    edited = people["bob"].patch(f"/api/datasets/sample/images/{pid}", json={"caption": "bob's words"}).json()
    assert edited["captions"] == ["bob's words"] and edited["dataset"] != "sample"
    assert people["ada"].get(f"/api/datasets/{edited['dataset']}").status_code == 404
    assert people["bob"].delete("/api/datasets/sample").status_code == 409


def test_anothers_data_set_cannot_be_trained_on(people: dict[str, Any]) -> None:
    answer = people["bob"].post("/api/runs", json={"name": "x", "config": {"data": {"dataset": people["set"]}}})
    assert answer.status_code == 422 and answer.json()["error"]["problems"][0]["field"] == "data.dataset"
    absent = people["bob"].post("/api/runs", json={"name": "x", "config": {"data": {"dataset": "0" * 32}}})
    assert absent.status_code == 422


@pytest.mark.parametrize("base", ["/etc", "./studio/assets/base", "~/model", "..", "a/b/c", "studio/../x"])
def test_no_folder_of_the_server_is_a_base_on_a_space(people: dict[str, Any], base: str) -> None:
    answer = people["ada"].post("/api/runs", json={"name": "x", "config": {"model": {"base": base}}})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["problems"][0]["field"] == "model.base"
    checked = people["ada"].post("/api/runs/check", json={"config": {"model": {"base": base}}}).json()
    assert [p["field"] for p in checked["problems"]] == ["model.base"]


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https://evil.example", "\\\\evil", "/a\nb"])
def test_sign_in_leads_back_to_this_site_only(space: Space, target: str) -> None:
    for step in ("login", "logout", "callback"):
        answer = space.server.client().get(f"/oauth/huggingface/{step}", params={"_target_url": target})
        assert answer.status_code == 400


def test_a_session_that_was_changed_is_nobody(space: Space) -> None:
    real = space.sign_in("ada").headers["cookie"]
    name, _, value = real.partition("=")
    forged = value[:-4] + ("AAAA" if value[-4:] != "AAAA" else "BBBB")
    client = space.server.client(headers={"cookie": f"{name}={forged}"})
    assert client.get("/api/session").json()["signed_in"] is False
    key = space.server.home / "cache" / "session.key"
    assert key.stat().st_mode & 0o777 == 0o600 and re.fullmatch("[0-9a-f]{64}", key.read_text())


def test_the_spaces_own_token_is_nobodys() -> None:
    """The owner's HF_TOKEN never becomes a visitor's."""
    assert access.HubAuth.viewer.__doc__
    assert "own_token" not in access.HubAuth.viewer.__code__.co_names


@pytest.mark.parametrize("viewer, owner, action, allowed", [
    (access.LOCAL, "local", "write", True), (access.LOCAL, "hf-1", "read", False), (access.LOCAL, "", "read", True),
    (access.LOCAL, "", "write", False), (access.ANONYMOUS, "", "read", True), (access.ANONYMOUS, "", "write", False),
    (access.ANONYMOUS, None, "create", False), (access.LOCAL, None, "create", True),
    (access.LOCAL, None, "read", False),
    (access.LOCAL, None, "administer", True), (access.ANONYMOUS, None, "administer", False),
    (access.Viewer("hf-1", "ada"), None, "administer", False),
    (access.Viewer("hf-1", "ada", admin=True), None, "administer", True),
    (access.Viewer("hf-1", "ada", admin=True), "hf-2", "administer", False),
    (access.Viewer("hf-1", "ada", admin=True), "hf-2", "read", False),
    (access.ANONYMOUS, None, "read", False), (access.LOCAL, "local", "own", False)])
def test_may(viewer: access.Viewer, owner: str | None, action: str, allowed: bool) -> None:
    assert access.may(viewer, owner, action) is allowed
