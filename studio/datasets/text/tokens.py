"""Captions as the base's text encoders read them: tokens, and the tail that is cut off. Without torch, and asked of a
limited process, since a base's tokenizer comes from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from studio import limited
from studio.datasets.text.tokenreading import Answer, Request
from studio.families import BaseProblem, Source
from studio.messages import Message

TOGETHER = 5000  # texts in one request
_readers = limited.LimitedProcessPool("studio.datasets.text.tokenreading")


class Tokens(TypedDict):
    """A caption as an encoder reads it: its tokens as [start, end] in characters, how many characters are read (`kept`)
    and the rest, which is not (`cut`)."""

    encoder: str
    limit: int
    tokens: list[list[int]]
    kept: int
    cut: str


@dataclass(frozen=True)
class Encoder:
    """One text encoder's tokenizer: its folder's name, the real tokens it takes, and the base it is part of."""

    name: str
    limit: int
    base: Path

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, the special ones not counted. Raises BaseProblem."""
        counted: list[int] = []
        for start in range(0, len(texts), TOGETHER):
            some = list(texts[start : start + TOGETHER])
            counted += _ask(self.base, {"name": self.name, "texts": some})["lengths"]
        return counted

    def read(self, text: str) -> Tokens:
        """The tokens of a text, and what of it is cut off. Raises BaseProblem."""
        offsets = _ask(self.base, {"name": self.name, "text": text})["tokens"]
        end = offsets[self.limit][0] if len(offsets) > self.limit else len(text)
        return {"encoder": self.name, "limit": self.limit, "tokens": offsets, "kept": end, "cut": text[end:]}

    def shorten(self, text: str) -> str:
        """The text up to the last whole word that is read."""
        tokens = self.read(text)
        while tokens["cut"]:  # again, since the beginning of a word may have more tokens than within its word
            start = text[: tokens["kept"]]
            whole_words = start if start[-1:].isspace() else start.rpartition(" ")[0]
            text = (whole_words or start).rstrip(" ,;")
            tokens = self.read(text)
        return text


def encoders(source: Source) -> list[Encoder]:
    """The tokenizers of a base's files, in the order of its encoders. Raises BaseProblem."""
    known = _ask(source.folder, {"encoders": True})["encoders"]
    if not known:
        raise BaseProblem(Message("{name} has no tokenizer that can be read here", name=source.name))
    return [Encoder(tokenizer["name"], tokenizer["limit"], source.folder) for tokenizer in known]


def _ask(base: Path, request: Request) -> Answer:
    """Raises BaseProblem, with what the process says or why it was stopped."""
    try:
        answer = cast("Answer", _readers.ask(base, {**request, "base": str(base)}))
    except limited.NoAnswer as stopped:
        raise BaseProblem(Message("the base's tokenizer cannot be used: {why}", why=stopped)) from None
    if "problem" in answer:
        raise BaseProblem(answer["problem"])
    return answer
