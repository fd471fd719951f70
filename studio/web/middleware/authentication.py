"""Who asks: everybody comes in here, by a signed-in session, by the token and its page, or as nobody."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote_plus, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from studio.messages import Message
from studio.web.access import AuthBackend, TokenAuth, bearer
from studio.web.http.errors import Forbidden, LoginNeeded, TooLarge, TooMany, WebError
from studio.web.http.headers import is_browser, shows_a_page
from studio.web.http.languages import negotiate_language, plain_page
from studio.web.middleware.limits import GuessLimiter
from studio.web.middleware.security import OPEN, SAFE
from studio.web.settings import Settings

LOGOUT = "/oauth/huggingface/logout"
# What somebody who has not signed in may send to Gradio: the page's own load events. The handlers ask `may` again.
WITHOUT_LOGIN = "/gradio_api/queue/join"
PROGRAMS = ("/api/", "/gradio_api/")  # addresses that no person looks at
FORM = "application/x-www-form-urlencoded"
FORM_BYTES = 4096
REDIRECTS = 3  # digits of the number of times that huggingface_hub's routes have begun anew
COOKIE_SECONDS = 30 * 86400


class AuthMiddleware:
    """Finds out who asks, lets the start-up link in, and stops those who may not look at all."""

    def __init__(self, app: ASGIApp, backend: AuthBackend, settings: Settings):
        self.app = app
        self.backend = backend
        self.settings = settings
        self.guesses = GuessLimiter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        response = await self._admit(request)
        await (response or self.app)(scope, receive, send)

    async def _admit(self, request: Request) -> Response | None:
        """An answer for who does not come in here, None for who does. Raises LoginNeeded, TooMany, TooLarge."""
        path = request.url.path
        viewer = request.state.viewer = self.backend.viewer(request)
        if isinstance(self.backend, TokenAuth):
            return await self._by_token(request, self.backend, bool(viewer.id))
        if path.startswith("/oauth/"):
            return _check_sign_in(request)
        if viewer.id or request.method in SAFE or path.startswith("/api/") or path == WITHOUT_LOGIN:
            return None  # the API's routes ask `may` themselves
        raise LoginNeeded(Message("Sign in first."), Message("Sign in with Hugging Face at the top of the page."))

    async def _by_token(self, request: Request, backend: TokenAuth, known: bool) -> Response | None:
        """Let in who is known, and who brings the token by the start-up link or the form; ask all others for it."""
        if _is_link(request):
            token = request.query_params["token"]
        elif _is_form(request):
            token = await _typed(request)
        elif known:
            return None
        else:
            return await self._ask_for_token(request, tried=bool(bearer(request.headers)))
        if known or backend.right(token):
            return _enter(request, backend)
        return await self._ask_for_token(request, tried=True)

    async def _ask_for_token(self, request: Request, *, tried: bool) -> Response:
        """The page that asks for the token, where a person looks; `tried` means that a wrong one came with the request.
        Raises LoginNeeded and TooMany for programs."""
        page = _is_link(request) or _is_form(request) or _wants_page(request)
        if tried and await self.guesses.wrong(request):
            if page:
                return _token_page(request, "token_braked", 429)
            raise TooMany(Message("There were too many wrong tokens."),
                          Message("Wait a minute, then send the right one."))
        if page and tried:
            return _token_page(request, "token_wrong", 401)
        if page:
            return _token_page(request, "token", 401)
        raise LoginNeeded(Message("Sign in first."),
                          Message("Open the link with ?token= that the studio printed when it started."))


def _is_link(request: Request) -> bool:
    """Whether this is the start-up link, at whatever address of the studio."""
    return request.method == "GET" and "token" in request.query_params


def _is_form(request: Request) -> bool:
    """Whether this may be what the page sends that asks for the token."""
    is_form = request.headers.get("content-type", "").startswith(FORM)
    return is_form and request.method == "POST" and not request.url.path.startswith(PROGRAMS)


def _wants_page(request: Request) -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


async def _typed(request: Request) -> str:
    """The token in a sent form. Raises TooLarge."""
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > FORM_BYTES:
                raise TooLarge(Message("The form is too large."), Message("Send the token alone."))
    except ClientDisconnect:
        return ""
    for field in data.decode("utf-8", "replace").split("&"):
        name, _, value = field.partition("=")
        if name == "token":
            return unquote_plus(value).strip()
    return ""


def _enter(request: Request, backend: TokenAuth) -> Response:
    """To the address that was asked for, with the cookie and without the token."""
    address = "/" + request.url.path.lstrip("/\\")  # never //host
    rest = [(key, value) for key, value in parse_qsl(request.url.query) if key != "token"]
    if rest:
        address += f"?{urlencode(rest)}"
    response = RedirectResponse(address, 303)
    response.set_cookie(backend.cookie, backend.value, max_age=COOKIE_SECONDS, httponly=True, samesite="lax",
                        secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https")
    return response


def _token_page(request: Request, name: str, status: int) -> Response:
    headers = {"cache-control": "no-store"}
    if status == 429:
        headers["retry-after"] = "60"
    return HTMLResponse(plain_page(name, negotiate_language(request.headers), form="token"), status, headers)


def _check_sign_in(request: Request) -> Response | None:
    """The ways of signing in and out lead a person back to a page of the studio and nowhere else, and are gone by a
    person alone: no picture, script or other site may take one. Raises WebError, Forbidden."""
    redirects = request.query_params.get("_nb_redirects", "0")
    counted = redirects.isascii() and redirects.isdigit() and len(redirects) <= REDIRECTS
    if not counted or not all(map(_is_ours, request.query_params.getlist("_target_url"))):
        raise WebError(Message("The address to return to is not on this site."),
                       Message("Start from the studio's own page."))
    if request.method not in SAFE:
        return None
    if not shows_a_page(request.headers):
        raise Forbidden(Message("Signing in and out is done by a person, from a page."),
                        Message("Use the studio's own page."), code="not_a_page")
    if request.url.path == LOGOUT and is_browser(request.headers):  # an address alone signs nobody out
        return HTMLResponse(plain_page("sign_out", negotiate_language(request.headers), form="sign_out"),
                            headers={"cache-control": "no-store"})
    return None


def _is_ours(target: str) -> bool:
    """Whether a browser takes this for an address of the site that it is on."""
    return target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
