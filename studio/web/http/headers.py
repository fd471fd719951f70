"""What is read from a request's headers, in time linear in their length whatever they hold."""

from __future__ import annotations

from starlette.datastructures import Headers

MOST_LANGUAGES = 30
_QUOTING = frozenset(b'"\\')
NAVIGATIONS = ("document", "iframe", "frame")


def without_foreign_cookies(headers: list[tuple[bytes, bytes]], known: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """The headers with such cookies alone as the studio sets itself. Others are nobody's business, and the libraries
    that unquote them take time that grows with the square of their length."""
    cookies = [part.strip() for name, value in headers if name == b"cookie" for part in value.split(b";")]
    if not cookies:
        return headers
    ours = [part for part in cookies if part.partition(b"=")[0] in known and _QUOTING.isdisjoint(part)]
    rest = [pair for pair in headers if pair[0] != b"cookie"]
    return [*rest, (b"cookie", b"; ".join(ours))] if ours else rest


def cookie(headers: Headers, name: str) -> str:
    """The value of a cookie, "" without it. Values are taken as they are: ours have neither quotes nor escapes."""
    for part in headers.get("cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def languages(headers: Headers) -> list[str]:
    """`de-AT,ja;q=0.8` as [de, ja], the most wanted first."""
    wishes: list[tuple[float, str]] = []
    for part in headers.get("accept-language", "").split(",", MOST_LANGUAGES)[:MOST_LANGUAGES]:
        tag, _, quality = part.partition(";")
        try:
            wish = float(quality.strip()[:20].removeprefix("q=") or 1)
        except ValueError:
            continue
        if wish > 0:
            wishes.append((wish, tag.strip().partition("-")[0].lower()))
    return [tag for _, tag in sorted(wishes, key=lambda one: -one[0])]


def shows_a_page(headers: Headers) -> bool:
    """Whether a browser asks in order to show a page, and not for a picture, a script or by `fetch`; programs that say
    nothing of it are taken at their word."""
    purpose = headers.get("sec-fetch-dest")
    if purpose is not None:
        return purpose in NAVIGATIONS
    accepted = headers.get("accept", "")
    return "text/html" in accepted or "image/" not in accepted


def is_browser(headers: Headers) -> bool:
    """Whether this is a browser: all of them say where a request comes from."""
    return "sec-fetch-site" in headers or "sec-fetch-dest" in headers
