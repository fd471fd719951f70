"""A Hugging Face Hub on the loopback, for models and data sets: `with Hub() as hub: hub.add("a/b", folder)`.

Clients take its address from HF_ENDPOINT, which huggingface_hub reads when it is imported: run them in a process of
their own, with `hub.environment(cache)`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

READER = "hf_reader"  # may read private and gated repositories
WRITER = "hf_writerWRITERwriter0123456789"  # may make repositories of the account `writer` and upload into them
STRANGER = "hf_stranger"  # is signed in, but was not let through a gate


@dataclass
class Repo:
    """A model repository: a folder for each revision. A private one is hidden, a gated one shows its file list."""

    revisions: dict[str, Path]
    private: bool = False
    gated: bool = False
    readers: tuple[str, ...] = ()  # people of tests/fakes/oauth.py who may read it, beside READER

    def commit(self, revision: str) -> str | None:
        names = {r: hashlib.sha1(str(path).encode()).hexdigest() for r, path in self.revisions.items()}
        return revision if revision in names.values() else names.get(revision)

    def folder(self, commit: str) -> Path:
        return next(path for revision, path in self.revisions.items() if self.commit(revision) == commit)


@dataclass
class Hub:
    """The server, running in a thread while the `with` lasts. `requests` keeps (method, path, Range header)."""

    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    uploads: Path | None = None  # where uploaded repositories lie; without it nothing can be uploaded
    busy_commits: int = 0  # so many commits are answered by 503 first
    blobs: dict[str, bytes] = field(default_factory=dict)  # of large files, by SHA-256
    silent: bool = False  # it answers 503 to everything
    tokens: list[tuple[str, str]] = field(default_factory=list)  # (path, token) of each request
    stall_after: int | None = None  # bytes of a safetensors file after which the answer hangs

    def __enter__(self) -> Hub:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self._app(), log_level="warning", timeout_graceful_shutdown=0))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def add(self, repo_id: str, folder: Path, *, revision: str = "main", **facts: bool) -> Repo:
        """Serve `folder` as a revision of a model, or of a data set whose name begins with `datasets/`."""
        repo = self.repos.setdefault(repo_id, Repo({}, **facts))
        repo.revisions[revision] = folder
        return repo

    def environment(self, cache: Path) -> dict[str, str]:
        """Environment of a client process whose downloads go to `cache`."""
        return {**os.environ, "HF_ENDPOINT": self.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "1"}

    def _app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def remember(request: Request, answer):
            self.requests.append((request.method, request.url.path, request.headers.get("range")))
            self.tokens.append((request.url.path, _token(request)))
            if self.silent:
                return _no(503, "", "Service Unavailable")
            return await answer(request)

        @app.get("/api/models/{org}/{name}")
        async def info(org: str, name: str, request: Request) -> Response:
            return self._info(f"{org}/{name}", "main", request)

        @app.get("/api/models/{org}/{name}/revision/{revision:path}")
        async def revision_info(org: str, name: str, revision: str, request: Request) -> Response:
            return self._info(f"{org}/{name}", revision, request)

        @app.get("/api/{kind}/{org}/{name}/auth-check")
        async def auth_check(kind: str, org: str, name: str, request: Request) -> Response:
            repo = self.repos.get(f"{org}/{name}" if kind == "models" else f"{kind}/{org}/{name}")
            return _refused(repo, request) or _gated(repo, f"{org}/{name}", request) or JSONResponse({})

        @app.get("/api/models/{org}/{name}/tree/{revision}")
        async def tree(org: str, name: str, revision: str, request: Request) -> Response:
            return self._tree(f"{org}/{name}", revision, request)

        @app.api_route("/{org}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
        async def resolve(org: str, name: str, revision: str, path: str, request: Request) -> Response:
            return self._resolve(f"{org}/{name}", revision, path, request)

        self._add_uploading(app)
        self._add_datasets(app)
        return app

    def _add_uploading(self, app: FastAPI) -> None:
        @app.post("/api/repos/create")
        async def create(request: Request) -> Response:
            return self._create(await request.json(), request)

        @app.post("/api/validate-yaml")
        async def validate(request: Request) -> Response:
            return JSONResponse({"errors": [], "warnings": []})

        @app.post("/api/models/{org}/{name}/preupload/{revision}")
        async def preupload(org: str, name: str, revision: str, request: Request) -> Response:
            files = (await request.json())["files"]
            return self._refused_writing(request) or JSONResponse({"files": [
                {"path": f["path"], "shouldIgnore": False, "oid": None,
                 "uploadMode": "lfs" if f["path"].endswith((".safetensors", ".webp")) else "regular"} for f in files]})

        @app.post("/{org}/{name}.git/info/lfs/objects/batch")
        async def batch(org: str, name: str, request: Request) -> Response:
            wanted = (await request.json())["objects"]
            return self._refused_writing(request) or JSONResponse({"transfer": "basic", "objects": [
                {**o, "actions": {"upload": {"href": f"{self.url}/blobs/{o['oid']}", "header": {}}}} for o in wanted]})

        @app.put("/blobs/{oid}")
        async def blob(oid: str, request: Request) -> Response:
            data = await request.body()
            if hashlib.sha256(data).hexdigest() != oid:
                return _no(400, "BadBlob", "the bytes are not those of the hash")
            self.blobs[oid] = data
            return Response(status_code=200)

        @app.post("/api/models/{org}/{name}/commit/{revision}")
        async def commit(org: str, name: str, revision: str, request: Request) -> Response:
            return self._commit(f"{org}/{name}", await request.body(), request)

    def _add_datasets(self, app: FastAPI) -> None:
        """What reading and uploading a data set asks for."""
        at = "/api/datasets/{org}/{name}"

        @app.get(at)
        @app.get(at + "/revision/{revision:path}")
        async def info(org: str, name: str, request: Request, revision: str = "main") -> Response:
            return self._info(f"datasets/{org}/{name}", revision, request)

        @app.get(at + "/tree/{revision}")
        @app.get(at + "/tree/{revision}/{path:path}")
        async def tree(org: str, name: str, revision: str, request: Request, path: str = "") -> Response:
            return self._tree(f"datasets/{org}/{name}", revision, request, path)

        @app.post(at + "/paths-info/{revision}")
        async def paths(org: str, name: str, revision: str, request: Request) -> Response:
            wanted = (await request.form()).getlist("paths") or (await request.json()).get("paths", [])
            return self._tree(f"datasets/{org}/{name}", revision, request, only=[str(path) for path in wanted])

        @app.get(at + "/refs")
        async def refs(org: str, name: str) -> Response:
            return JSONResponse({"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": "0" * 40}],
                                 "converts": [], "tags": []})

        @app.api_route("/datasets/{org}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
        async def resolve(org: str, name: str, revision: str, path: str, request: Request) -> Response:
            return self._resolve(f"datasets/{org}/{name}", revision, path, request)

        @app.post(at + "/preupload/{revision}")
        async def preupload(org: str, name: str, revision: str, request: Request) -> Response:
            files = (await request.json())["files"]
            return self._refused_writing(request) or JSONResponse({"files": [
                {"path": f["path"], "shouldIgnore": False, "oid": None,
                 "uploadMode": "lfs" if f["path"].endswith((".parquet", ".zip")) else "regular"} for f in files]})

        @app.post("/datasets/{org}/{name}.git/info/lfs/objects/batch")
        async def batch(org: str, name: str, request: Request) -> Response:
            wanted = (await request.json())["objects"]
            return self._refused_writing(request) or JSONResponse({"transfer": "basic", "objects": [
                {**o, "actions": {"upload": {"href": f"{self.url}/blobs/{o['oid']}", "header": {}}}} for o in wanted]})

        @app.post(at + "/commit/{revision}")
        async def commit(org: str, name: str, revision: str, request: Request) -> Response:
            return self._commit(f"datasets/{org}/{name}", await request.body(), request)

    def _info(self, repo_id: str, revision: str, request: Request) -> Response:
        repo = self.repos.get(repo_id)
        if refused := _refused(repo, request):
            return refused
        commit = repo.commit(revision)
        if commit is None:
            return _no(404, "RevisionNotFound", "Invalid rev id")
        siblings = [{"rfilename": p, "size": s} for p, s in _files(repo.folder(commit))]
        return JSONResponse({"_id": "0", "id": repo_id.removeprefix("datasets/"), "modelId": repo_id, "sha": commit,
                             "private": repo.private, "gated": "auto" if repo.gated else False,
                             "siblings": siblings, "tags": []})

    def _refused_writing(self, request: Request) -> Response | None:
        if _token(request) != WRITER or self.uploads is None:
            return _no(401, "", "Invalid credentials in Authorization header")
        return None

    def _create(self, asked: dict[str, Any], request: Request) -> Response:
        if refused := self._refused_writing(request):
            return refused
        assert self.uploads is not None
        repo_id = f"{asked.get('organization') or 'writer'}/{asked['name']}"
        if not repo_id.startswith("writer/"):
            return _no(403, "", f"You don't have the rights to create a model under {repo_id}")
        repo_id = f"datasets/{repo_id}" if asked.get("type") == "dataset" else repo_id
        if repo_id in self.repos:
            return JSONResponse({"error": "exists", "url": f"{self.url}/{repo_id}"}, 409)
        private = asked.get("private", asked.get("visibility") == "private")
        folder = self.uploads / repo_id
        folder.mkdir(parents=True)
        self.add(repo_id, folder, private=bool(private))
        return JSONResponse({"url": f"{self.url}/{repo_id}", "name": repo_id, "id": repo_id})

    def _commit(self, repo_id: str, body: bytes, request: Request) -> Response:
        if refused := self._refused_writing(request):
            return refused
        if self.busy_commits:
            self.busy_commits -= 1
            return _no(503, "", "Service Unavailable")
        folder = self.repos[repo_id].revisions["main"]
        for line in map(json.loads, body.splitlines()):
            value, target = line["value"], folder / line["value"].get("path", "")
            if line["key"] == "deletedFile":
                target.unlink()
            if line["key"] in ("file", "lfsFile"):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(base64.b64decode(value["content"]) if line["key"] == "file"
                                   else self.blobs[value["oid"]])
        oid = self.repos[repo_id].commit("main")
        return JSONResponse({"success": True, "commitOid": oid, "commitUrl": f"{self.url}/{repo_id}/commit/{oid}",
                             "hookOutput": ""})

    def _tree(self, repo_id: str, revision: str, request: Request, path: str = "",
              only: list[str] | None = None) -> Response:
        repo = self.repos.get(repo_id)
        if refused := _refused(repo, request):
            return refused
        commit = repo.commit(revision)
        if commit is None:
            return _no(404, "RevisionNotFound", "Invalid rev id")
        files = _files(repo.folder(commit))
        folders = {parent.as_posix() for name, _ in files for parent in Path(name).parents if parent.name}
        found = [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in files]
        found += [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)]
        if only is not None:
            return JSONResponse([entry for entry in found if entry["path"] in only])
        found = [entry for entry in found if not path or entry["path"].startswith(f"{path}/")]
        if request.query_params.get("recursive", "false").lower() != "true" and repo_id.startswith("datasets/"):
            found = [entry for entry in found if "/" not in str(entry["path"]).removeprefix(f"{path}/" if path else "")]
        if path and not found:
            return _no(404, "EntryNotFound", f"{path} does not exist")
        return JSONResponse(found)

    def _resolve(self, repo_id: str, revision: str, path: str, request: Request) -> Response:
        repo = self.repos.get(repo_id)
        if refused := _refused(repo, request):
            return refused
        if refused := _gated(repo, repo_id, request):
            return refused
        commit = repo.commit(revision)
        if commit is None:
            return _no(404, "RevisionNotFound", "Invalid rev id")
        if path not in dict(_files(repo.folder(commit))):
            return _no(404, "EntryNotFound", "Entry not found")
        data = (repo.folder(commit) / path).read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        start = int(found[1]) if found else 0
        stop = int(found[2]) + 1 if found and found[2] else len(data)
        if found:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        headers["Content-Length"] = str(stop - start)
        limit = self.stall_after if path.endswith(".safetensors") and request.method == "GET" else None
        return StreamingResponse(_send(data[start:stop], limit), 206 if found else 200, headers)


async def _send(data: bytes, stall_after: int | None) -> AsyncIterator[bytes]:
    """The bytes, or the first of them and then nothing until the client leaves."""
    yield data if stall_after is None else data[:stall_after]
    if stall_after is not None and stall_after < len(data):
        await asyncio.Event().wait()


def _files(folder: Path) -> list[tuple[str, int]]:
    return [(p.relative_to(folder).as_posix(), p.stat().st_size) for p in sorted(folder.rglob("*")) if p.is_file()]


def _token(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


def _person(request: Request) -> str:
    """Who bears a token that tests/fakes/oauth.py gave; nobody for any other."""
    found = re.fullmatch(r"hf_oauth_(\w+)_[0-9a-f]+", _token(request))
    return found[1] if found else ""


def _gated(repo: Repo | None, repo_id: str, request: Request) -> Response | None:
    if repo is not None and repo.gated and _token(request) != READER and _person(request) not in repo.readers:
        return _no(403 if _token(request) else 401, "GatedRepo", f"Access to model {repo_id} is restricted")
    return None


def _refused(repo: Repo | None, request: Request) -> Response | None:
    if repo is None or repo.private and _token(request) not in (READER, WRITER) and (
            _person(request) not in repo.readers):
        return _no(404 if _token(request) else 401, "RepoNotFound", "Repository not found")
    return None


def _no(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})
