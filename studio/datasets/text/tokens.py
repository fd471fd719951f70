"""Captions as the base's text encoders read them: tokens, and the tail that is cut off. Without torch, and asked of a
limited process, since a base's tokenizer comes from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio import limited
from studio.families import BaseProblem, Source
from studio.messages import Message

TOGETHER = 5000  # texts in one request
_readers = limited.Readers("studio.datasets.text.tokenreading")


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

    def read(self, text: str) -> dict[str, Any]:
        """{encoder, limit, tokens: [[start, end], ...] in characters, kept: characters that are read, cut: the rest}"""
        offsets = _ask(self.base, {"name": self.name, "text": text})["tokens"]
        kept = len(text) if len(offsets) <= self.limit else offsets[self.limit][0]
        return {"encoder": self.name, "limit": self.limit, "tokens": offsets, "kept": kept, "cut": text[kept:]}

    def shorten(self, text: str) -> str:
        """The text up to the last whole word that is read."""
        read = self.read(text)
        if not read["cut"]:
            return text
        kept = text[: read["kept"]]
        whole = kept if text[read["kept"] - 1 : read["kept"]].isspace() else kept.rpartition(" ")[0]
        return (whole or kept).rstrip(" ,;")


def encoders(source: Source) -> list[Encoder]:
    """The tokenizers of a base's files, in the order of its encoders. Raises BaseProblem."""
    listed = _ask(source.folder, {"encoders": True})["encoders"]
    if not listed:
        raise BaseProblem(Message("{name} has no tokenizer that can be read here", name=source.name))
    return [Encoder(one["name"], one["limit"], source.folder) for one in listed]


def _ask(base: Path, request: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = _readers.ask(base, {**request, "base": str(base)})
    except limited.Stopped as stopped:
        raise BaseProblem(Message("the base's tokenizer cannot be used: {why}", why=stopped)) from None
    if "problem" in answer:
        raise BaseProblem(answer["problem"])
    return answer
