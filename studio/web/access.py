"""Who asks, and who may: every route and every Gradio handler gets its viewer here and its answer from `may`."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass, field
from typing import Protocol

from starlette.datastructures import Headers
from starlette.requests import Request

from studio import secrets
from studio.messages import Message, word
from studio.web.http.errors import Forbidden, LoginNeeded, NotFound
from studio.web.http.headers import cookie
from studio.web.settings import Settings


@dataclass(frozen=True)
class Viewer:
    """Who asks: `id` owns things ("" is nobody), `name` is shown, `token` is their own Hub token, `admin` means that
    the studio is in their care."""

    id: str
    name: str
    token: str | None = field(default=None, repr=False)
    admin: bool = False


ANONYMOUS = Viewer("", "")
LOCAL = Viewer("local", "", admin=True)


def may(viewer: Viewer, owner: str | None, action: str) -> bool:
    """True when `viewer` may do `action` with what `owner` owns; the one place that decides.

    Actions: "read" and "write" on a thing, "create" a new one (its owner is then the viewer, `owner` is None),
    "administer" the studio (`owner` is None): its trash, and what everybody's things take, but nobody's things.
    Things of nobody (owner "": the shipped sample) can be read by everyone and written by no one.
    """
    if action == "administer":
        return viewer.admin and owner is None
    if action == "create":
        return bool(viewer.id)
    if action == "read" and owner == "":
        return True
    return action in ("read", "write") and bool(viewer.id) and viewer.id == owner


def require(viewer: Viewer, owner: str | None, action: str, what: str) -> None:
    """Return if `viewer` may. Raises LoginNeeded for a write by nobody, Forbidden for what an administrator does, else
    NotFound, so that ids tell nothing."""
    if may(viewer, owner, action):
        return
    if not viewer.id and action != "read":
        raise LoginNeeded(Message("Sign in first: this changes something."),
                          Message("Sign in with Hugging Face at the top of the page."))
    if action == "administer":
        raise Forbidden(Message("Only an administrator of this studio may do this."),
                        Message("Ask the person who runs it."))
    raise NotFound(Message("There is no {what} of that id.", what=word(what)),
                   Message("It may have been deleted; look at the list."))


def viewer_of(request: object) -> Viewer:
    """The viewer of a Starlette or Gradio request that came through the middleware; ANONYMOUS for any other."""
    starlette_request = getattr(request, "request", None) or request
    viewer = getattr(getattr(starlette_request, "state", None), "viewer", None)
    if isinstance(viewer, Viewer):
        return viewer
    return ANONYMOUS


class AuthBackend(Protocol):
    """One way of telling who asks."""

    open: bool  # whether nobody in particular may look at the page

    def viewer(self, request: Request) -> Viewer:
        """Who sent this request."""
        ...


class LocalAuth:
    """STUDIO_AUTH=none: everyone who reaches the server is its owner."""

    open = True

    def viewer(self, request: Request) -> Viewer:
        """Always the owner."""
        return Viewer(LOCAL.id, LOCAL.name, secrets.own_token(), admin=True)


class TokenAuth:
    """STUDIO_AUTH=token: whoever bears the start-up token as `Authorization: Bearer`, or the cookie that a browser gets
    for it, is the owner. The cookie's value follows from the token, and the token not from it."""

    open = False

    def __init__(self, token: str, port: int):
        self._token = token.encode()
        self.cookie = token_cookie(port)
        self.value = hmac.new(self._token, b"the studio's cookie", "sha256").hexdigest()

    def right(self, token: str) -> bool:
        """Whether this is the token, in time that does not depend on it."""
        return hmac.compare_digest(token.encode(), self._token)

    def viewer(self, request: Request) -> Viewer:
        """The owner, or nobody."""
        has_cookie = hmac.compare_digest(cookie(request.headers, self.cookie).encode(), self.value.encode())
        if has_cookie or self.right(bearer(request.headers)):
            return Viewer(LOCAL.id, LOCAL.name, secrets.own_token(), admin=True)
        return ANONYMOUS


def token_cookie(port: int) -> str:
    """The name of the cookie; a browser shares cookies between ports."""
    return f"studio_token_{port}"


def bearer(headers: Headers) -> str:
    """The token of an `Authorization: Bearer` header, "" without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return ""
    return token.strip()


class HubAuth:
    """STUDIO_AUTH=hf: people sign in with Hugging Face; their own token is the only one used for them."""

    open = True

    def __init__(self, settings: Settings):
        self.settings = settings

    def viewer(self, request: Request) -> Viewer:
        """The signed-in person, or nobody. The id is the account's, which outlives a rename."""
        info = request.session.get("oauth_info")
        if not isinstance(info, dict) or float(info.get("expires_at") or 0) < time.time():
            return ANONYMOUS
        from huggingface_hub import parse_huggingface_oauth  # a second of imports that the other modes never need

        oauth = parse_huggingface_oauth(request)
        if oauth is None or not oauth.user_info.sub:
            return ANONYMOUS
        account = oauth.user_info.sub
        name = oauth.user_info.preferred_username or ""
        return Viewer(f"hf-{account}", name, oauth.access_token, self.settings.administers(account, name))


def auth_backend(settings: Settings) -> AuthBackend:
    """The way this server tells who asks, by its `auth`."""
    if settings.auth == "token":
        return TokenAuth(settings.token, settings.port)
    if settings.auth == "hf":
        return HubAuth(settings)
    return LocalAuth()
