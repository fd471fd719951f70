"""The FastAPI app: API routes, middleware, the pages' place, and what starts and ends with the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from studio import __version__, launch, storage
from studio.folders import runs
from studio.messages import Message
from studio.storage import faults
from studio.storage.spare import Spare
from studio.web import access
from studio.web.http.docs import ABOUT, add_docs
from studio.web.http.errors import NotFound, WebError
from studio.web.http.pages import Page, Pages
from studio.web.http.routing import refusal
from studio.web.middleware import limits, sessions
from studio.web.middleware.authentication import LOGOUT, AuthMiddleware
from studio.web.middleware.security import SecurityMiddleware, error_response
from studio.web.page import serving
from studio.web.routes import bundles, care, datasets, health, jobs, plans, play, server, trash
from studio.web.routes import runs as routes_runs
from studio.web.services.service import Studio
from studio.web.settings import Settings
from studio.web.usage import watcher
from studio.web.usage.janitor import look_after

log = logging.getLogger("studio.web")


def create_app(settings: Settings, pages: Callable[[], Mapping[str, Page]] | None = None) -> FastAPI:
    """The whole server over `settings.home`. `pages` makes what hangs at `/`, by language; it is called in a thread."""
    _prepare_home(settings.home)
    launcher = launch.Launcher(settings.home, settings.turn_seconds, shared=settings.public)
    app = FastAPI(title="Studio", version=__version__, description=ABOUT, docs_url=None, redoc_url=None,
                  openapi_url=None, lifespan=_lifespan)
    app.state.studio = Studio(settings.home, launcher, runs.EventReader(), settings)
    app.state.pages = Pages(pages)
    app.state.sessions = None  # where nobody signs in
    _add_error_answers(app)
    _add_routes(app)
    if not settings.public:
        add_docs(app)
    app.include_router(server.last)
    app.add_middleware(limits.ConcurrencyLimiter, one_owner=not settings.public)
    app.add_middleware(AuthMiddleware, backend=access.auth_backend(settings), settings=settings)
    if settings.public:
        app.state.sessions = sessions.Store(settings.home)
        _add_sign_in(app, settings)
    app.add_middleware(SecurityMiddleware, settings=settings)
    app.mount("/static", serving.Static(serving.files(), serving.FOLDER, app.state.pages), name="static")
    app.mount("/", app.state.pages, name="pages")
    return app


def _add_routes(app: FastAPI) -> None:
    """The API. Of routes that match the same address the first one answers."""
    app.include_router(routes_runs.polls)
    app.include_router(bundles.router)
    app.include_router(plans.router)
    app.include_router(plans.presets)
    app.include_router(play.router)
    app.include_router(play.jobs)
    app.include_router(routes_runs.router)
    app.include_router(routes_runs.queue)
    app.include_router(datasets.uploads_or_json)
    app.include_router(datasets.router)
    app.include_router(health.router)
    app.include_router(jobs.router)
    app.include_router(care.router)
    app.include_router(trash.router)
    app.include_router(server.health)
    app.include_router(server.config)
    app.include_router(server.machine)
    app.include_router(server.session)


def _prepare_home(home: Path) -> None:
    """What a full disk would not give any more is there from the beginning: the trash, and room for last words."""
    storage.make_folder(home)
    try:
        storage.make_folder(home / "trash")
        Spare(home).fill()
    except OSError as error:  # the studio can still be looked at: /readyz says that it cannot be written to
        if error.errno not in storage.UNWRITABLE:
            raise
        log.warning("nothing can be changed here: %s", faults.plain(error))


def _add_error_answers(app: FastAPI) -> None:
    """Whatever goes wrong in a route is answered in the one shape of errors."""

    @app.exception_handler(WebError)
    def answer(request: Request, error: WebError) -> Response:
        return error_response(error, request)

    @app.exception_handler(HTTPException)
    def answer_http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return error_response(NotFound(Message("There is no such address."),
                                           Message("The README shows how a program uses the API.")), request)
        plain = WebError(str(error.detail)[:200], "", code="http")
        plain.status = error.status_code
        return error_response(plain, request)

    @app.exception_handler(RequestValidationError)
    def answer_invalid(request: Request, error: RequestValidationError) -> Response:
        return error_response(refusal(error), request)


def _add_sign_in(app: FastAPI, settings: Settings) -> None:
    """Hugging Face's own sign-in routes over sessions that the server keeps, and a way to sign out that no address
    alone can take."""
    from huggingface_hub import attach_huggingface_oauth

    attach_huggingface_oauth(app)
    app.user_middleware = [layer for layer in app.user_middleware if layer.cls is not SessionMiddleware]
    app.add_middleware(sessions.Sessions, store=app.state.sessions, key=sessions.session_secret(settings.home))

    @app.post(LOGOUT, include_in_schema=False)
    def logout(request: Request) -> Response:
        """Sign out: the session ends here and in every copy of its cookie."""
        request.session.clear()
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(request.query_params.get("_target_url", "/"), 303)
        return Response(status_code=204)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    studio: Studio = app.state.studio
    async with AsyncExitStack() as stack:
        anyio.to_thread.current_default_thread_limiter().total_tokens = limits.THREADS
        tasks = [asyncio.create_task(_load(app, stack)),
                 asyncio.create_task(look_after(studio, app.state.sessions)),
                 asyncio.create_task(watcher.watch(studio))]
        await asyncio.to_thread(studio.launcher.start)
        try:
            yield
        finally:
            if studio.settings.container:
                unsaved = await asyncio.to_thread(studio.save_live_runs, studio.settings.save_wait)
                log.warning("stopping; runs that had not saved yet: %s", ", ".join(unsaved) or "none")
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await asyncio.to_thread(studio.launcher.close)


async def _load(app: FastAPI, stack: AsyncExitStack) -> None:
    """The pages first; then, with the cores free again, measure the machine, so that the form knows what is fastest."""
    studio: Studio = app.state.studio
    await app.state.pages.load(stack)
    try:
        await asyncio.to_thread(studio.machine, access.LOCAL)
    except Exception:
        log.exception("the machine could not be measured; the form shows no suggestion from it")
