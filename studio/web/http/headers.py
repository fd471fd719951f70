"""What is read from a request's headers, in time linear in their length whatever they hold."""

from __future__ import annotations

from operator import itemgetter

from starlette.datastructures import Headers

MOST_LANGUAGES = 30
_QUOTING = frozenset(b'"\\')
NAVIGATIONS = ("document", "iframe", "frame")


def without_foreign_cookies(headers: list[tuple[bytes, bytes]], known: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """The headers with such cookies alone as the studio sets itself. Others are nobody's business, and the libraries
    that unquote them take time that grows with the square of their length."""
    rest, ours = [], []
    for name, value in headers:
        if name != b"cookie":
            rest.append((name, value))
            continue
        for pair in map(bytes.strip, value.split(b";")):
            if pair.partition(b"=")[0] in known and _QUOTING.isdisjoint(pair):
                ours.append(pair)
    if ours:
        rest.append((b"cookie", b"; ".join(ours)))
    return rest


def cookie(headers: Headers, name: str) -> str:
    """The value of a cookie, "" without it. Values are taken as they are: ours have neither quotes nor escapes."""
    for part in headers.get("cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return ""


def names_tag(header: str, etag: str) -> bool:
    """Whether an If-None-Match header names this ETag (quotes and all); the mark of a weak one is not compared."""
    return etag in [tag.strip().removeprefix("W/") for tag in header.split(",")]


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
    wishes.sort(key=itemgetter(0), reverse=True)  # of equal ones the first stays in front
    return [tag for _, tag in wishes]


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
