"""The API's description at /api/openapi.json, and the page at /docs that shows it; not where strangers sign in."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse, JSONResponse

ABOUT = """A run, a data set and a job is a JSON record with an `id`. Lists are `{items, next}`. Whatever goes wrong is
`{error: {code, message, hint}}`, its sentences in the language that `Accept-Language` asks for where there is one. Live
data is polled: send the last answer's ETag as `If-None-Match`, and 304 says that nothing is new. Where the studio asks
for a token, open its start-up link with the same client first: it sets a cookie."""


def add_docs(app: FastAPI) -> None:
    """The two routes. FastAPI makes the document from the models at the first request, when all routes are there."""

    @app.get("/api/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        """The API as OpenAPI 3.1."""
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        """The API to read and to try."""
        swagger = "static/vendor/swagger-ui/swagger-ui"
        return get_swagger_ui_html(
            openapi_url="api/openapi.json", title="Studio API", swagger_js_url=f"{swagger}-bundle.js",
            swagger_css_url=f"{swagger}.css", swagger_favicon_url="static/icon.svg")
