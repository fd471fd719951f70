"""Many ES modules as one script, each in a function of its own and line by line as it was written.

The modules keep to a part of the language, so that a few expressions read it: an import or export begins its line;
imported are names from a file beside, `import { a, b as c } from "./x.js";`; exported is what is declared, by `export
const | function | async function | class`; nothing waits at the top; no two import each other. A library is a file of
its own that is loaded by `await import("../vendor/...")` where it is needed. Whatever else is refused.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

IMPORT = re.compile(r'^import (?:\{([^{}]*)\} from )?"(\.{1,2}/[\w./-]+\.js)";$', re.M)
EXPORT = re.compile(r"^export (?=(?:const|class|function|async function) (\w+|\{[\w\s,:]*\}))", re.M)
LIBRARY = re.compile(r'\bawait import\("(\.{1,2}/(?:[\w-]+/)*vendor/[\w./-]+\.js)"\)')
REFUSED = re.compile(r"^(?:import|export)\b.*|\bimport\.meta\b.*|(?<!\{)\bimport\(.*|^await\b.*", re.M)
NAME = "$module"  # of a module's exports, with its number
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class ScriptError(ValueError):
    """A module leaves the part of the language that can be put together; says where."""


@dataclass
class Joined:
    """Modules in the order in which they run: each after those that it imports."""

    texts: Mapping[str, str]
    numbers: dict[str, int] = field(default_factory=dict)  # of each module, by its path
    exported: dict[str, list[str]] = field(default_factory=dict)  # names, by the module's path
    lines: list[str] = field(default_factory=list)
    origins: list[tuple[int, int] | None] = field(default_factory=list)  # of each line: module, line there

    def script(self) -> str:
        """All of it as one script without exports: strict, and with no name left behind."""
        return "\n".join(('(() => {"use strict";', *self.lines, "})();\n"))

    def module(self, source_map: str) -> str:
        """All of it as one module, whose export `modules` has the exports of each by its path."""
        exported = ", ".join(f"{json.dumps(name)}: {NAME}{number}" for name, number in self.numbers.items())
        return "\n".join((*self.lines, f"export const modules = {{ {exported} }};",
                          f"//# sourceMappingURL={source_map}\n"))

    def source_map(self) -> str:
        """The map (version 3) from the lines of `module` to the modules, for a browser's tools."""
        mappings, module, line = [], 0, 0
        for origin in self.origins:
            if origin is None:
                mappings.append("")
                continue
            mappings.append("A" + _digits(origin[0] - module) + _digits(origin[1] - line) + "A")
            module, line = origin
        return json.dumps({"version": 3, "sources": list(self.numbers), "names": [], "mappings": ";".join(mappings)})

    def _add(self, line: str, origin: tuple[int, int] | None = None) -> None:
        self.lines.append(line)
        self.origins.append(origin)


def join(texts: Mapping[str, str], entries: Iterable[str]) -> Joined:
    """The modules `entries` and all that they import, of those in `texts` by their paths. Raises ScriptError."""
    joined = Joined(texts)
    for entry in entries:
        _include(joined, entry, ())
    return joined


def _include(joined: Joined, name: str, importers: tuple[str, ...]) -> None:
    if name in importers:
        raise ScriptError(f"{name}: it imports itself, by way of {' and '.join(importers)}")
    if name in joined.numbers:
        return
    if name not in joined.texts:
        raise ScriptError(f"{importers[-1] if importers else name}: there is no module {name}")
    text = joined.texts[name]
    for imported in IMPORT.finditer(text):
        _include(joined, _resolve(name, imported[2]), (*importers, name))
    number = joined.numbers[name] = len(joined.numbers)
    joined.exported[name] = exports(text)
    joined._add(f"const {NAME}{number} = (() => {{")
    for line, code in enumerate(_rewritten(joined, name, text).split("\n")):
        joined._add(code, (number, line))
    joined._add(f"return {{ {', '.join(joined.exported[name])} }};")
    joined._add("})();")


def exports(text: str) -> list[str]:
    """The names that a module exports."""
    names: list[str] = []
    for exported in EXPORT.finditer(text):  # a name, or { name, name: other }
        parts = filter(None, map(str.strip, exported[1].strip("{}").split(",")))
        names += [part.rpartition(":")[2].strip() for part in parts]
    return names


def _rewritten(joined: Joined, name: str, text: str) -> str:
    """A module's text with its imports read from the modules before it, each in its line."""
    def imported(match: re.Match[str]) -> str:
        exporter = _resolve(name, match[2])
        names = match[1]
        if names is None:
            return ""
        for wanted in filter(None, map(str.strip, names.split(","))):
            if wanted.split(" as ")[0] not in joined.exported[exporter]:
                raise ScriptError(f"{name}: {exporter} exports no {wanted}")
        return f"const {{{names.replace(' as ', ': ')}}} = {NAME}{joined.numbers[exporter]};"

    def library(match: re.Match[str]) -> str:
        return f'await import("./{_resolve(name, match[1])}")'

    code = IMPORT.sub(imported, text)
    code = EXPORT.sub("", code)
    for refused in _refused(LIBRARY.sub("", code)):
        raise ScriptError(f"{name}: {refused}: this form cannot be put together; "
                          "studio/web/page/modules.py says which can")
    return LIBRARY.sub(library, code)


def _refused(code: str) -> Iterator[str]:
    """What in this code is beyond the part of the language."""
    for match in REFUSED.finditer(code):
        line = code.count("\n", 0, match.start()) + 1
        yield f"line {line}: {match[0].strip()[:100]}"


def _resolve(importer: str, path: str) -> str:
    """The path below the folder that an import names."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(importer), path))


def _digits(value: int) -> str:
    """A number as a source map has it: base 64, five bits at a time, the sign in the lowest."""
    rest, written = abs(value) << 1 | (value < 0), ""
    while True:
        rest, bits = rest >> 5, rest & 31
        written += DIGITS[bits | (32 if rest else 0)]
        if not rest:
            return written
