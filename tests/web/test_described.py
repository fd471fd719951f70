"""The API's description: there for a person on this machine, and all of its routes say what they read and answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gradio_client import Client

from studio import config

from . import promised
from .conftest import Server, Space

FILES = ("/bundle", "/export", ".csv", "{name}", "{path}", "{pid}", "/thumb")  # ends of addresses that answer with one


@pytest.fixture(scope="module")
def api(server: Server) -> httpx.Client:
    return server.client()


@pytest.fixture(scope="module")
def document(api: httpx.Client) -> dict[str, Any]:
    return api.get("/api/openapi.json").json()


def test_every_route_says_what_it_reads_and_answers(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.")
    paths = document["paths"]
    assert {"/api/runs", "/api/runs/{run_id}/events", "/api/datasets", "/api/jobs/{job_id}"} <= paths.keys()
    operations = [(method, path, one) for path, methods in paths.items() for method, one in methods.items()]
    assert not [(method, path) for method, path, one in operations if not one.get("description")], "no docstring"
    for method, path, one in operations:
        good = {status: answer for status, answer in one["responses"].items() if status.startswith("2")}
        assert good and one["responses"]["4XX"]["content"]["application/json"]["schema"], (method, path)
        for status, answer in good.items():
            kinds = answer.get("content", {})
            assert bool(kinds) is (status != "204" and method != "head"), (method, path)
            assert all(kind["schema"] for kind in kinds.values()), (method, path)
            assert kinds.keys() == {"application/json"} or method == "head" or status == "204" or path.endswith(FILES)
        for kind in one.get("requestBody", {}).get("content", {}).values():
            assert kind["schema"], (method, path)


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each route that reads JSON: method, path, and the schemas of its body's fields."""
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            body = one.get("requestBody", {}).get("content", {}).get("application/json")
            if body:
                yield method, path, fields(document, body["schema"])


def fields(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schemas of a body's fields."""
    named = next((part["$ref"] for part in (schema, *schema.get("anyOf", [])) if "$ref" in part), "")
    return (document["components"]["schemas"][named.rpartition("/")[2]] if named else schema)["properties"]


def test_bodies_are_described_field_by_field(document: dict[str, Any]) -> None:
    models, read = document["components"]["schemas"], {path: known for _, path, known in bodies(document)}
    run = read["/api/runs"]
    assert {"type": "string"} in run["name"]["anyOf"]
    assert {"$ref": "#/components/schemas/Config"} in run["config"]["anyOf"]
    assert models["Optim"]["properties"].keys() == config.Optim.model_fields.keys()
    assert {"repo", "private", "token"} <= read["/api/runs/{run_id}/publish"].keys()
    assert {"prompt", "checkpoint", "token"} == read["/api/runs/{run_id}/{kind}"].keys()
    assert {"name", "source", "encoding"} <= read["/api/datasets"].keys()
    forms = document["paths"]["/api/datasets"]["post"]["requestBody"]["content"]
    sent = fields(document, forms["multipart/form-data"]["schema"])
    assert sent["files"]["items"] == {"type": "string", "format": "binary"} and "name" in sent


def test_a_body_that_does_not_fit_is_told_so_in_a_sentence(api: httpx.Client, document: dict[str, Any]) -> None:
    """By its first field of a wrong type, or its first unknown name; the same in Japanese."""
    controls = "/api/runs/{run_id}/{kind}"  # says itself what a control takes
    read = [(method, re.sub(r"{\w+}", "0" * 32, path), known) for method, path, known in bodies(document)
            if path != controls]
    assert len(read) > 20
    for method, path, known in read:
        for name, schema in known.items():
            kinds = {part.get("type", "object") for part in schema["anyOf"]}
            wrong = 1.5 if kinds & {"array", "object"} or "boolean" in kinds else [1]
            for body, said in (({name: wrong}, f"The field '{name}' must be of type "),
                               ({name: wrong, "zz": 1, "zy": 2}, "Unknown field 'zy'.")):
                answer = api.request(method, path, json=body)
                assert answer.status_code == 400 and answer.json()["error"]["message"].startswith(said), answer.text
                japanese = api.request(method, path, json=body, headers={"accept-language": "ja"}).json()["error"]
                assert japanese["message"] != answer.json()["error"]["message"] and japanese["code"] == "bad_request"
        assert answer.json()["error"]["hint"] == f"There are: {', '.join(known)}."


def test_a_query_that_does_not_fit_is_told_so_in_both_languages(api: httpx.Client) -> None:
    said = [api.get("/api/jobs", params={"limit": 0}, headers={"accept-language": language}).json()["error"]["message"]
            for language in ("en", "ja")]
    assert said == ["limit: should be greater than or equal to 1.", "limit：1 以上にしてください。"]


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


def test_no_answer_is_held_for_good_that_is_not() -> None:
    """The check behind all clients of these tests notices a field that is missing, wrong, or not promised."""
    good = {"status": "waiting", "waiting_for": ["pages"]}
    for body in ({"status": "waiting"}, {**good, "status": "late"}, {**good, "more": 1}):
        answer = httpx.Response(503, json=body, request=httpx.Request("GET", "http://studio/readyz"))
        with pytest.raises((AssertionError, ValueError)):
            promised.hold(answer)
    promised.hold(httpx.Response(503, json=good, request=httpx.Request("GET", "http://studio/readyz")))
    with pytest.raises(AssertionError, match="promises no answer"):
        promised.hold(httpx.Response(202, json=good, request=httpx.Request("GET", "http://studio/readyz")))


def test_the_page_offers_gradios_client_nothing_beside_the_api(server: Server) -> None:
    """Its handlers serve the form alone; a program takes the routes above."""
    server.wait_ready()
    with pytest.raises(ValueError, match="routes under /api"):
        Client(server.url, verbose=False)
    handlers = server.client().get("/config").json()["dependencies"]
    assert handlers and {handler["api_visibility"] for handler in handlers} == {"private"}
