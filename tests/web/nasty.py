"""Requests of at most 10 kB that make careless code slow: headers, queries, paths and bodies for any route."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

from .measuring import request

SIZE = 9000  # of the nasty part
BYTES = 10_000  # of a whole request
WEAK = ("; allowed: ", " (given: ", " and ", ", or ", ": ", "'", "x: y (z: w) ", " (and ", "; ")  # of sentences
PARAMETERS = ("limit", "after", "q", "since", "keys", "sort", "base", "subject", "token", "session_hash")


def filled(part: str, size: int = SIZE) -> str:
    """`part` again and again."""
    return (part * (size // len(part) + 1))[:size]


HEADERS: dict[str, Callable[[int], dict[str, str]]] = {
    "cookie, backslashes": lambda n: {"cookie": f'session="{filled(chr(92), n)}"'},
    "cookie, octal": lambda n: {"cookie": f'studio-language="{filled(chr(92) + "101", n)}"'},
    "cookies": lambda n: {"cookie": filled("a=b;", n)},
    "own cookies": lambda n: {"cookie": filled("session=a;", n)},
    "languages": lambda n: {"accept-language": filled("ja,", n)},
    "language qualities": lambda n: {"accept-language": filled("a;q=0.1,", n)},
    "tags": lambda n: {"if-none-match": filled('"a",', n)},
    "range": lambda n: {"range": f"bytes={filled('9', n)}"},
    "ranges": lambda n: {"range": f"bytes={filled('0-1,', n)}"},
    "long header": lambda n: {"x-a": filled("a", n)},
    "forwarded": lambda n: {"x-forwarded-for": filled("1.1.1.1, ", n), "x-forwarded-host": "a" * 100},
    "bearer": lambda n: {"authorization": f"Bearer {filled('a', n)}"},
    "host": lambda n: {"host": filled("a:", n)},
    "brackets": lambda n: {"host": filled("[", n)},
    "origin": lambda n: {"origin": f"http://{filled('[', n)}"},
    "type": lambda n: {"content-type": f"multipart/form-data; {filled(';', n)}"},
    "boundary": lambda n: {"content-type": f'multipart/form-data; boundary="{filled(chr(92), n)}"'},
    "options": lambda n: {"content-type": f"application/json; {filled('a=b;', n)}"},
    "disposition": lambda n: {"content-disposition": filled(' ;a="', n)},
    "encodings": lambda n: {"accept-encoding": filled("gzip;q=0.1,", n)},
}
QUERIES: dict[str, Callable[[int], str]] = {
    "ampersands": lambda n: filled("&", n), "fields": lambda n: filled("a=b&", n), "halves": lambda n: filled("%", n),
    "escapes": lambda n: filled("%41", n), "plus": lambda n: filled("+=", n),
    **{f"{name}, digits": lambda n, name=name: f"{name}={filled('9', n)}" for name in PARAMETERS},
    **{f"{name}, words": lambda n, name=name: f"{name}={filled('%20a', n)}" for name in ("q", "base", "keys")},
    "after, nested": lambda n: f"after={base64.urlsafe_b64encode(b'[' * (n * 3 // 4)).decode()}",
}
PATHS: dict[str, Callable[[int], str]] = {
    "letters": lambda n: filled("a", n), "folders": lambda n: filled("a/", n), "slashes": lambda n: filled("/", n),
    "up": lambda n: filled("../", n), "escapes": lambda n: filled("%41", n), "dots": lambda n: filled(".", n),
    "zeros": lambda n: filled("0", n),
}


def _nested(opening: str, closing: str, n: int) -> str:
    deep = n // (len(opening) + len(closing))
    return opening * deep + "1" + closing * deep


DOCUMENTS: dict[str, Callable[[int], str]] = {
    "nested lists": lambda n: f'{{"config":{{"train":{_nested("[", "]", n)}}}}}',
    "nested objects": lambda n: f'{{"config":{_nested(chr(123) + chr(34) + "a" + chr(34) + ":", chr(125), n)}}}',
    "lists": lambda n: f'{{"config":{{"a":[{filled("[],", n)}1]}}}}',
    "objects": lambda n: f'{{"config":{{"a":[{filled("{},", n - n % 3)}1]}}}}',
    "keys": lambda n: json.dumps({"config": {"train": {f"k{i}": 1 for i in range(n // 10)}}}),
    "sections": lambda n: json.dumps({"config": {f"k{i}": {} for i in range(n // 12)}}),
    "fields": lambda n: json.dumps({f"k{i}": 1 for i in range(n // 10)}),
    "digits": lambda n: f'{{"config":{{"train":{{"max_steps":{filled("9", min(n, 4200))},"seed":{"9" * 4200}}}}}}}',
    "too many digits": lambda n: f'{{"config":{{"train":{{"max_steps":{filled("9", n)}}}}}}}',
    "fraction": lambda n: f'{{"config":{{"optim":{{"learning_rate":0.{filled("1", n)}}}}}}}',
    "prompts": lambda n: json.dumps({"config": {"sample": {"prompts": list(range(n // 6))}}}),
    "several faults": lambda n: json.dumps({"config": {"train": {"max_steps": "x" * 200}, "sample": {
        "prompts": [[]] * (n // 6)}}}),
    "escapes": lambda n: f'{{"name":"{filled(chr(92) + "u0000", n - n % 6)}","config":{{"train":1}}}}',
    "half characters": lambda n: f'{{"name":"{filled(chr(92) + "ud800", n - n % 6)}","config":{{"train":1}}}}',
    "twice": lambda n: f'{{{filled(chr(34) + "a" + chr(34) + ":1,", n - n % 6)}"b":1}}',
    "no end": lambda n: f'{{"a":"{filled("a", n)}',
    "spaces": lambda n: filled(" ", n),
    "space": lambda n: f'{{"name":"{filled(" ", n)}","config":{{"train":1}}}}',
    "base": lambda n: json.dumps({"config": {"model": {"base": filled("a/", n)}}}),
    "revision": lambda n: json.dumps({"config": {"model": {"base": "a/b", "revision": filled("../", n)}}}),
}
COMMANDS: dict[str, Callable[[int], str]] = {
    "doubled": lambda n: filled("A=$A$A ", n) + "x", "grown": lambda n: "export A=" + "x" * 500 + "".join(
        f" && export {b}={'$' + a} {''.join(['$', a])}" for a, b in zip("ABCDEFG", "BCDEFGH", strict=True)) + "; x",
    "backslashes": lambda n: filled("\\ ", n), "quotes": lambda n: filled("'' ", n), "lines": lambda n: filled("\n", n),
    "continued": lambda n: filled("\\\n", n), "spaces": lambda n: filled("\\   ", n), "assigned": lambda n: " ".join(
        f"A{i}=1" for i in range(n // 7)) + " x", "statements": lambda n: filled("A=1 x ; ", n),
    "options": lambda n: "train_text_to_image.py " + filled("--x ", n), "words": lambda n: "train_text_to_image.py "
    + filled("b ", n), "number": lambda n: "train_text_to_image.py --seed -" + filled("1", n) + "x",
    "launcher": lambda n: f"accelerate launch {filled('a=b ', n)} train_text_to_image.py",
    "prompt": lambda n: f"train_text_to_image_lora.py --validation_prompt {filled('x', n)} --num_validation_images 64",
    "count": lambda n: f"train_text_to_image_lora.py --validation_prompt x --num_validation_images {filled('9', n)}",
    "warm-up": lambda n: "train_text_to_image.py --lr_scheduler linear --lr_warmup_steps " + filled("9", n),
}
for weak in WEAK:
    DOCUMENTS[f"sentence{weak}"] = lambda n, weak=weak: json.dumps({"config": {"data": {"dataset": filled(weak, n)}}})
for kind, command in COMMANDS.items():
    DOCUMENTS[f"command, {kind}"] = lambda n, command=command: json.dumps({"command": command(n)})
PART = b'--b\r\ncontent-disposition: form-data; name=files; filename=%s\r\n\r\n\r\n'
FORMS: dict[str, Callable[[int], bytes]] = {
    "fields": lambda n: PART.replace(b"; filename=%s", b"") * (n // 60) + b"--b--",
    "part's head": lambda n: b"--b\r\n" + filled("a:b\r\n", n - n % 5).encode() + b"\r\nx\r\n--b--",
    "part's options": lambda n: b"--b\r\ncontent-disposition: " + filled(';a="b', n).encode() + b"\r\n\r\nx\r\n--b--",
    "name": lambda n: PART % filled("../", min(n, 3900)).encode() + b"--b--",
    "ends": lambda n: PART % b"a" + filled("\r\n--", n).encode() + b"\r\n--b--",
    "no end": lambda n: PART % b"a" + filled("a", n).encode(),
}


def of_any_route(method: str, path: str, cookie: str = "") -> Iterator[tuple[str, bytes]]:
    """(what it is, the request) for one route; with `cookie` somebody has signed in."""
    signed_in = {"cookie": cookie} if cookie else {}
    empty = b"{}" if method in ("POST", "PATCH") else None
    for name, make in HEADERS.items():
        yield name, _largest(lambda n, make=make: request(method, path, {**signed_in, **make(n)}, empty))
    yield "headers", request(method, path, {**signed_in, **{f"a{i}": "b" for i in range(900)}})
    for name, make_query in QUERIES.items():
        yield f"?{name}", _largest(lambda n, make=make_query: request(method, f"{path}?{make(n)}", signed_in))
    if empty is None:
        return
    json_ = {**signed_in, "content-type": "application/json", "accept-language": "ja"}
    for name, make_text in DOCUMENTS.items():
        yield name, _largest(lambda n, make=make_text: request(method, path, json_, make(n).encode()))
    chunks = {**json_, "transfer-encoding": "chunked"}
    yield "chunks", _largest(lambda n: request(method, path, chunks, b"1\r\n \r\n" * (n // 6) + b"0\r\n\r\n"))
    form = {**signed_in, "content-type": "multipart/form-data; boundary=b"}
    for name, make_form in FORMS.items():
        yield f"form, {name}", _largest(lambda n, make=make_form: request(method, path, form, make(n)))


def _largest(make: Callable[[int], bytes]) -> bytes:
    """The largest of such requests that is no longer than BYTES."""
    return next(one for n in range(SIZE, 0, -500) if len(one := make(n)) <= BYTES)


def paths(path: str, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """A route's path with each of the ids in it replaced by something nasty."""
    for name in names:
        if name in path:
            yield from ((kind, path.replace(name, make(SIZE // 2))) for kind, make in PATHS.items())


def whole(data: Any) -> bytes:
    """JSON as bytes."""
    return json.dumps(data).encode()
