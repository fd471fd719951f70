"""The page's own files under /static, and those put together from them: small, and fetched once.

`static/<revision>/<name>` may be kept for ever, since any change of any file gives another revision. A page that was
opened before an update goes on: under a revision that is not this server's there are today's files, kept by nobody.
`static/<name>`, without revision, is a file as it lies there.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from studio import PACKAGE
from studio.messages import Message
from studio.web.http.errors import NotFound
from studio.web.http.headers import names_tag
from studio.web.page import modules

FOLDER = PACKAGE / "ui" / "static"
SCRIPT, SCRIPT_MAP, STYLES = "page.js", "page.js.map", "page.css"  # what is put together
FRAME = "app.js"  # the module that starts the page; all others are its parts, which export `mount`
FIRST = "first.js"  # what runs before anything is drawn, within the page itself
STYLE_PARTS = ("studio.css", "pages.css", "datasets.css")  # in the order of their rules
LIBRARY_STYLES = "vendor/uplot/uPlot.min.css"
GRADIO_FILES = ("js/iframeResizer.contentWindow.min.js",)  # of Gradio's own /static, what its page asks for
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".map": "application/json"}
REVISION = re.compile(r"[0-9a-f]{12}", re.ASCII)
FOR_EVER = "public, max-age=31536000, immutable"


class Files:
    """What the page loads, by name below its revision."""

    def __init__(self, folder: Path):
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        self.sources = frozenset(self.contents)
        own = [name for name in self.contents if name.endswith(".js") and not name.startswith("vendor/")]
        texts = {name: self.contents[name].decode() for name in own}
        parts = [name for name in own if "mount" in modules.exports(texts[name])]
        first, page = modules.join(texts, [FIRST]), modules.join(texts, [FRAME, *parts])
        self.first = first.script()
        self.contents[SCRIPT] = page.module(SCRIPT_MAP).encode()
        self.contents[SCRIPT_MAP] = page.source_map().encode()
        # Gradio's styles come later, and say something of every element: within `body` the library's are stronger.
        styles = [b"body {", self.contents[LIBRARY_STYLES], b"}", *(self.contents[name] for name in STYLE_PARTS)]
        self.contents[STYLES] = b"\n".join(styles)
        self.revision = _revision(self.contents)
        self._small: dict[str, bytes] = {}

    def address(self, name: str) -> str:
        """The address of a file, relative to the page's; another one whenever any file has changed."""
        return f"static/{self.revision}/{name}"

    def small(self, name: str) -> bytes:
        """A file's bytes, gzipped when they are first asked for."""
        if name not in self._small:
            self._small[name] = gzip.compress(self.contents[name], 9, mtime=0)
        return self._small[name]


@functools.cache
def files() -> Files:
    """The page's files, as they are when they are first asked for. Raises modules.ScriptError."""
    return Files(FOLDER)


class Static:
    """What is under /static: the page's own files, and those of Gradio's that the page needs; nothing else is looked
    for."""

    def __init__(self, files: Files, folder: Path, otherwise: ASGIApp):
        self.files, self.otherwise = files, otherwise
        self.plain = StaticFiles(directory=folder, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"].removeprefix(scope["root_path"]).lstrip("/")
        revision, _, below = name.partition("/")
        if REVISION.fullmatch(revision) and below in self.files.contents and scope["method"] in ("GET", "HEAD"):
            await self._answer(Headers(scope=scope), revision, below)(scope, receive, send)
        elif name in self.files.sources:
            await self.plain(scope, receive, send)
        elif name in GRADIO_FILES:
            await self.otherwise({**scope, "root_path": scope.get("app_root_path", "")}, receive, send)
        else:
            raise NotFound(Message("There is no such address."),
                           Message("The README shows how a program uses the API."))

    def _answer(self, asked: Headers, revision: str, name: str) -> Response:
        lasting = revision == self.files.revision
        etag = f'"{self.files.revision}"'
        headers = {"cache-control": FOR_EVER if lasting else "no-cache", "etag": f"W/{etag}", "vary": "Accept-Encoding"}
        if names_tag(asked.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        if "gzip" in asked.get("accept-encoding", ""):
            content, headers["content-encoding"] = self.files.small(name), "gzip"
        else:
            content = self.files.contents[name]
        kind = KINDS.get(Path(name).suffix, "application/octet-stream")
        return Response(content, 200, headers, media_type=kind)


def _revision(contents: Mapping[str, bytes]) -> str:
    """Changes whenever a file does or they are put together in another way, so that a browser never mixes two
    versions."""
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
