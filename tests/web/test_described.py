"""The API's description: there for a person on this machine, every route in it, and its shapes are those of answers."""

from __future__ import annotations

import httpx
import pytest
from gradio_client import Client

from studio import config
from studio.web import shapes

from .conftest import Server, Space, make_run


@pytest.fixture(scope="module")
def api(server: Server) -> httpx.Client:
    return server.client()


def test_every_route_is_described(api: httpx.Client) -> None:
    document = api.get("/api/openapi.json").json()
    assert document["openapi"].startswith("3.")
    paths = document["paths"]
    assert {"/api/runs", "/api/runs/{run_id}/events", "/api/datasets", "/api/jobs/{job_id}"} <= paths.keys()
    bare = [(m, p) for p, methods in paths.items() for m, one in methods.items() if not one.get("description")]
    assert not bare, f"no docstring: {bare}"
    body = paths["/api/runs"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert body["name"] == {"type": "string"} and body["config"]["$ref"] == "#/components/schemas/Config"
    settings = document["components"]["schemas"]
    assert settings["Optim"]["properties"].keys() == config.Optim.model_fields.keys()
    told = paths["/api/runs/{run_id}/publish"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"repo", "private", "token"} <= told["properties"].keys()


def test_every_reference_in_the_description_leads_somewhere(api: httpx.Client) -> None:
    text = api.get("/api/openapi.json").text
    names = set(api.get("/api/openapi.json").json()["components"]["schemas"])
    asked = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert asked and asked <= names


def test_the_page_that_shows_it_needs_nothing_from_elsewhere(api: httpx.Client) -> None:
    page = api.get("/docs").text
    assert "http" not in page.replace("http-equiv", "") and "static/vendor/swagger-ui/swagger-ui-bundle.js" in page
    for part in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert api.get(f"/static/vendor/swagger-ui/{part}").status_code == 200


def test_strangers_are_shown_no_description(space: Space) -> None:
    ada = space.sign_in("ada")
    assert [ada.get(path).status_code for path in ("/docs", "/api/openapi.json", "/openapi.json")] == [404] * 3


def test_answers_have_the_shapes_they_are_described_with(server: Server, api: httpx.Client) -> None:
    run = make_run(server.home, steps=3)
    shapes.Run.model_validate_json(api.get(f"/api/runs/{run.id}").text)
    shapes.Runs.model_validate_json(api.get("/api/runs").text)
    told = shapes.Events.model_validate_json(api.get(f"/api/runs/{run.id}/events").text)
    assert told.step == 3 and [e.kind for e in told.events][:1] == ["attempt"]
    shapes.Files.model_validate_json(api.get(f"/api/runs/{run.id}/files").text)
    shapes.Datasets.model_validate_json(api.get("/api/datasets").text)
    shapes.Dataset.model_validate_json(api.get("/api/datasets/sample").text)
    job = api.post("/api/datasets/sample/health").json()
    shapes.Job.model_validate_json(api.get(f"/api/jobs/{job['id']}").text)
    shapes.Jobs.model_validate_json(api.get("/api/jobs").text)
    refused = api.post("/api/runs", json={"config": {"optim": {"learning_rate": -1}}})
    assert shapes.Error.model_validate_json(refused.text).error.problems[0].field == "optim.learning_rate"


def test_the_page_offers_gradios_client_nothing_beside_the_api(server: Server) -> None:
    """Its handlers serve the form alone; a program takes the routes above."""
    server.wait_ready()
    with pytest.raises(ValueError, match="routes under /api"):
        Client(server.url, verbose=False)
    handlers = server.client().get("/config").json()["dependencies"]
    assert handlers and {handler["api_visibility"] for handler in handlers} == {"private"}
