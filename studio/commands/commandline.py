"""A pasted command line as words: as the shells of people read it (bash, PowerShell, cmd, notebooks), and as web pages
spoil it (curly quotes, long dashes, other blanks).

Nothing is run and nothing of this machine's environment is looked at.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from studio.errors import StudioError
from studio.messages import Message

MOST_CHARACTERS = 20_000  # of a command, and of what its variables make of it
NAME = r"[A-Za-z_]\w*"
VARIABLE = re.compile(
    rf"\$\{{env:({NAME})\}}|\$env:({NAME})|\$\{{({NAME})(?::?[-=]([^{{}}]*))?\}}|\$({NAME})|%({NAME})%|!({NAME})!"
    rf"|\{{({NAME})\}}", re.IGNORECASE)
# What is left in a value that somebody has still to fill in.
PLACEHOLDER = re.compile(rf"\$\{{[^{{}}]*\}}|\$(?:env:)?{NAME}|\$[\d@*]|\$\([^()]*\)|`[^`]+`|%{NAME}%|%~\w*\d"
                         rf"|(?<![\w%])%\d(?!\d)|\{{[^{{}}]*\}}|\{{\{{|<[^<>]+>|^\[[^\[\]]*\]?$|^@\w+@$", re.IGNORECASE)
DOUBLE, SINGLE = "“”„‟«»＂", "‘’‚‛"
DASHES = re.compile("[-‐‑‒–—―−]*[‐‑‒–—―−][-‐‑‒–—―−]*")
WINDOWS = re.compile(r"[\^`][^\S\n]*\n"
                     r"|^[^\S\n]*(?:@?set[^\S\n]+[^-\s]|rem[^\S\n])|\$env:|%[A-Za-z_]\w*%|(?<![A-Za-z])[A-Za-z]:\\"
                     r"|(?<![\w.])\.{1,2}\\\w|\.exe\b|(?<![\w\\])\\\\\w", re.IGNORECASE | re.MULTILINE)
PROMPT = re.compile(r"(?:\([\w.-]+\)\s*)?(?:PS [^>\n]*>|[A-Za-z]:\\[^>\n]*>|[\w.-]+@[\w.-]+[^$#\n]*[$#]\s|[$%>!]\s+"
                    r"|!(?=\S)|```\w*$|@(?=\w)|\([\w.-]+\)\s+(?=\w))")
ENTITY = re.compile(r"&(?:[a-z]{2,8}\d?|#\d{2,6}|#x[0-9a-f]{2,5});", re.IGNORECASE)
ENDS = re.compile(r"\r\n?|[\u2028\u2029\x85]|<br\s*/?>(?:\n|(?=\S))", re.IGNORECASE)  # of lines
_ESCAPE = re.compile(r'\\([$`"\\])|\\\n')  # within double quotes
EXPORTS = ("export", "declare", "typeset", "local", "readonly", "env")
_TARGET = rf"(?:(?:\$env:|\$\{{env:|\$)?({NAME})\}}?|os\.environ\[({NAME})\])"
_NAMED = re.compile(_TARGET, re.IGNORECASE)
_ASSIGNMENT = re.compile(rf"{_TARGET}(\+?)=(.*)", re.IGNORECASE | re.DOTALL)


class CommandError(StudioError):
    """A text that is no command of these scripts: says what was expected."""


class Piece(NamedTuple):
    """A part of a word: its text without quotes, whether it was quoted, whether variables in it are replaced."""

    text: str
    quoted: bool
    expands: bool


@dataclass
class Word:
    """A word: the pieces that stand in it without a blank between them."""

    pieces: list[Piece] = field(default_factory=list)

    @property
    def text(self) -> str:
        """As it was written, without quotes."""
        return "".join(piece.text for piece in self.pieces)


class Variables:
    """What the text itself says of its variables."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self._length = 0  # of what variables were replaced by

    def set(self, name: str, value: str) -> None:
        """Remember a value."""
        self.values[name] = value

    def expand(self, word: Word) -> list[str]:
        """The words that a word becomes; those of an unquoted variable are parted at blanks. Raises CommandError where
        variables only make it grow."""
        text = ""
        for piece in word.pieces:
            if piece.expands:
                text += VARIABLE.sub(self._value, piece.text)
            else:
                text += piece.text
        alone = len(word.pieces) == 1 and not word.pieces[0].quoted
        if alone and VARIABLE.fullmatch(word.pieces[0].text) and text.strip() and text != word.text:
            return text.split()
        return [text]

    def one(self, word: Word) -> str:
        """A word as one, whatever is in it. Raises CommandError."""
        return " ".join(self.expand(word))

    def _value(self, place: re.Match[str]) -> str:
        """What a match of VARIABLE is replaced by: the value, else the default written there, else itself."""
        groups = list(place.groups())
        default = groups.pop(3)
        name = next(filter(None, groups))
        text = self.values.get(name)
        if text is None and place[0].lower().startswith(("$env:", "${env:", "%", "!")):
            text = self._of_any_case(name)
        if text is None:
            text = default
        if text is None:
            text = place[0]
        self._length += len(text)
        if self._length > MOST_CHARACTERS:
            raise CommandError(Message("its variables make it longer than {length:,} characters",
                                       length=MOST_CHARACTERS))
        return text

    def _of_any_case(self, name: str) -> str | None:
        """The value of a variable of Windows, whose names have no case."""
        for known_name, value in self.values.items():
            if known_name.casefold() == name.casefold():
                return value
        return None


def statements(text: str) -> tuple[list[list[Word]], list[str]]:
    """The commands in a text as words, and its comments. Raises CommandError."""
    text = ENTITY.sub(_unescaped, text)
    text = ENDS.sub("\n", text).strip()
    if text.count("`") == 2 and text[0] == text[-1] == "`":  # as a page of Markdown has it
        text = text[1:-1]
    return _Scanner("\n".join(map(_without_prompt, text.split("\n")))).scan()


def _unescaped(entity: re.Match[str]) -> str:
    return html.unescape(entity[0])


def _without_prompt(line: str) -> str:
    written = line.lstrip()
    prompt = PROMPT.match(written)
    if prompt is None:
        return line
    return written[prompt.end():]


def assigned(words: list[Word], variables: Variables) -> tuple[list[Word], dict[str, str]]:
    """The words that are left of a command after its assignments, which are noted; and those made for it alone."""
    if not words:
        return [], {}
    first = words[0].text.lower()
    if first in ("set", "setenv", "%env", "%set_env") and len(words) > 1:
        _set(words[1:], variables)
        return [], {}
    target = _NAMED.fullmatch(words[0].text)
    if target and len(words) > 2 and words[1].text == "=":
        variables.set(target[1] or target[2], " ".join(map(variables.one, words[2:])))
        return [], {}
    if first not in EXPORTS:
        return _assigned_before(words, variables, switches=False)
    rest, values = _assigned_before(words[1:], variables, switches=True)
    if first == "env":
        return rest, values
    return rest, {}  # for all commands that follow


def _assigned_before(words: list[Word], variables: Variables, switches: bool) -> tuple[list[Word], dict[str, str]]:
    """The words from the first one on that is no assignment (where there may be `switches`: no -x either), and the
    assignments before it, which are noted."""
    values: dict[str, str] = {}
    for place, word in enumerate(words):
        match = _ASSIGNMENT.fullmatch(word.text)
        if match:
            name = match[1] or match[2]
            value = variables.one(word).partition("=")[2]
            if match[3]:  # NAME+=more
                value = variables.values.get(match[1], "") + value
            values[name] = value
            variables.set(name, value)
        elif not (switches and word.text.startswith("-")):
            return words[place:], values
    return [], values


def _is_switch(word: Word) -> bool:
    """Whether this is a switch of `set`: `-gx`, `/p`."""
    return word.text.startswith(("-", "/")) and len(word.text) < 5


def _set(words: list[Word], variables: Variables) -> None:
    """`set NAME=all the rest` (cmd), `set -gx NAME value` (fish), `setenv NAME value`, `%env NAME=value`."""
    values = [variables.one(word) for word in words if not _is_switch(word)]
    if not values:
        return
    match = _ASSIGNMENT.fullmatch(values[0])
    if match:
        variables.set(match[1] or match[2], " ".join([match[4], *values[1:]]))
    elif re.fullmatch(NAME, values[0]):
        variables.set(values[0], " ".join(values[1:]).removeprefix("= "))


class _Scanner:
    """Goes through a text once, from piece to piece."""

    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.windows = WINDOWS.search(text) is not None
        self.statements: list[list[Word]] = [[]]
        self.word: Word | None = None
        self.comments: list[str] = []
        self.redirects = False  # whether the next word is a file that output goes to
        self.goes_on = set(_continued(text))

    def scan(self) -> tuple[list[list[Word]], list[str]]:
        """The statements and the comments."""
        while self.at < len(self.text):
            for pattern, step in STEPS:
                match = pattern.match(self.text, self.at)
                if match and step(self, match):
                    self.at = match.end()
                    break
            else:
                self._add(self.text[self.at])
                self.at += 1
        self._end_statement()
        return list(filter(None, self.statements)), self.comments

    def _add(self, text: str, *, quoted: bool = False, expands: bool = False) -> bool:
        self.word = self.word or Word()
        self.word.pieces.append(Piece(text, quoted, expands))
        return True

    def _end_word(self) -> None:
        word = self.word
        if word is None:
            return
        self.word = None
        if self.redirects:
            self.redirects = False
            self.comments.append(f"> {word.text}")
            return
        first = word.pieces[0]
        dashes = DASHES.match(first.text)
        if dashes and not first.quoted and len(first.text) > dashes.end():
            word.pieces[0] = first._replace(text="--" + first.text[dashes.end():])
        self.statements[-1].append(word)

    def _end_statement(self) -> None:
        self._end_word()
        self.statements.append([])

    # Steps: what to do at a place that a pattern matches; False where it does not fit there.

    def blank(self, _: re.Match[str]) -> bool:
        self._end_word()
        return True

    def newline(self, match: re.Match[str]) -> bool:
        if match.start() in self.goes_on:
            self._end_word()
        else:
            self._end_statement()
        return True

    def comment(self, match: re.Match[str]) -> bool:
        if self.word is not None or match[0][0] != "#" and self.statements[-1]:
            return False
        self.comments.append(f"# {match[2].strip()}")
        return True

    def separator(self, _: re.Match[str]) -> bool:
        self._end_statement()
        return True

    def redirection(self, match: re.Match[str]) -> bool:
        if self.word is not None:
            return False
        self.redirects = "&" not in match[0][1:]
        return True

    def place(self, match: re.Match[str]) -> bool:
        return self._add(match[0], quoted=True)

    def substitution(self, match: re.Match[str]) -> bool:
        return not (self.windows and match[0][0] == "`") and self._add(match[0], expands=match[0].startswith("${"))

    def single(self, match: re.Match[str]) -> bool:
        return self._add(match[1], quoted=True)

    def curly_single(self, match: re.Match[str]) -> bool:
        begins = self.word is None or self.word.text.endswith("=")
        return begins and self._add(match[1], quoted=True, expands=True)

    def double(self, match: re.Match[str]) -> bool:
        text = match[1]
        if not self.windows:
            text = _ESCAPE.sub(_escaped, text)
        elif not text.endswith("\\"):
            text = text.replace('\\"', '"')
        return self._add(text, quoted=True, expands=True)

    def windows_double(self, match: re.Match[str]) -> bool:
        return self.windows and self.double(match)

    def curly_double(self, match: re.Match[str]) -> bool:
        return self._add(match[1], quoted=True, expands=True)

    def unclosed(self, match: re.Match[str]) -> bool:
        if self.windows and match[0] == "'":
            return self._add("'")
        part = self.text[match.start(): match.start() + 40].replace("\n", " ")
        raise CommandError(Message("the command cannot be read (a quote is not closed: {part}): check its quotes",
                                   part=part))

    def backslash(self, match: re.Match[str]) -> bool:
        return self.windows and self._add(match[0])

    def escape(self, match: re.Match[str]) -> bool:  # nobody escapes a letter: pics\birds is a path
        if match[1].isalnum():
            return self._add(match[0], quoted=True)
        return self._add(match[1], quoted=True)

    def caret(self, match: re.Match[str]) -> bool:
        return self.windows and self._add(match[1], quoted=True)

    def plain(self, match: re.Match[str]) -> bool:
        return self._add(match[0], expands=True)


def _escaped(escape: re.Match[str]) -> str:
    """What an _ESCAPE stands for; one of a line's end for nothing."""
    return escape[1] or ""


def _continued(text: str) -> Iterator[int]:
    """The places of line ends after which the same command goes on: the next line that says something begins with -."""
    end = len(text)
    goes_on = False
    for line in reversed(text.split("\n")):
        begin = end - len(line)
        bare = line.strip()
        if bare and not bare.startswith("#"):
            goes_on = bare[0] == "-" or DASHES.match(bare) is not None
        if goes_on and begin:
            yield begin - 1
        end = begin - 1


Step = Callable[[_Scanner, "re.Match[str]"], bool]
_ALL = re.DOTALL
_PATTERNS: tuple[tuple[str, Step], ...] = (
    (r"[\\^`][^\S\n]*(?:\n|$)|[\\^`](?=[^\S\n]+#)", _Scanner.blank),
    (r"\n", _Scanner.newline),
    (r"(?:[^\S\n]|[\u200b\ufeff])+", _Scanner.blank),
    (r"(#|(?i:rem)(?=\s)|::)([^\n]*)", _Scanner.comment),
    (r"(?:\d|&)?>>?(?:&\d)?", _Scanner.redirection),
    (r"&&|\|\||[;&|]", _Scanner.separator),
    (r"<[^<>\n]{0,200}>", _Scanner.place),
    (r"\$\{[^{}\n]*\}|\$\([^()\n]*\)|`[^`\n]*`", _Scanner.substitution),
    (r"'([^']*)'", _Scanner.single),
    (r'"((?:[^"\\]|\\"(?!\s|$)|\\(?!")|\\(?="(?:\s|$)))*)"', _Scanner.windows_double),
    (r'"((?:[^"\\]|\\.)*)"', _Scanner.double),
    (rf'"([^"{DOUBLE}]*)[{DOUBLE}]', _Scanner.curly_double),
    (rf'[{DOUBLE}]([^"{DOUBLE}]*)["{DOUBLE}]', _Scanner.curly_double),
    (rf"[{SINGLE}]((?:[^'{SINGLE}\n]|['{SINGLE}](?=\w))*)['{SINGLE}]", _Scanner.curly_single),
    (r"['\"]", _Scanner.unclosed),
    (r"\\", _Scanner.backslash),
    (r"\\(.)", _Scanner.escape),
    (r"\^(.)", _Scanner.caret),
    (rf"""(?:[^\s\u200b\ufeff\\'"{DOUBLE}{SINGLE};&|<>^`$]|\$(?![({{]))+""", _Scanner.plain))
STEPS = [(re.compile(pattern, _ALL), step) for pattern, step in _PATTERNS]
