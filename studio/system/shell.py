"""Arguments of the programs for a shell: a fault is one sentence, and for a mistyped flag the nearest that there is."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

NEAREST = 3  # flags that are offered


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a fault with one sentence in place of its whole usage.

    `aliases` are names under which people look for a flag: {"learning_rate": "--optim.learning_rate"}."""

    def __init__(self, *args: Any, aliases: dict[str, str] | None = None, **kwargs: Any):  # argparse's, and aliases
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.aliases = aliases or {}

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:
        """As argparse's; exits with 2 after one sentence on stderr for what cannot be understood."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._of_unknown(unknown, parsed))
        return parsed

    def error(self, message: str) -> NoReturn:
        """Exit with 2 after one sentence."""
        self.exit(2, f"{self.prog}: {message}. All there is: {self.prog} --help\n")

    def _of_unknown(self, unknown: Sequence[str], parsed: argparse.Namespace) -> str:
        """The sentence for words that argparse left over."""
        flag = next((word for word in unknown if word.startswith("-")), None)
        if flag is None:
            return f"{' '.join(map(repr, unknown))} belongs to no flag"
        flag = flag.partition("=")[0]
        near = list(self._of_command(parsed)._near(flag))
        if near:
            return f"there is no flag {flag}: did you mean {' or '.join(near)}"
        return f"there is no flag {flag}"

    def _of_command(self, parsed: argparse.Namespace) -> Parser:
        """The parser of the command that was named, where there are several."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                command = action.choices.get(getattr(parsed, action.dest, None) or "")
                return command if isinstance(command, Parser) else self
        return self

    def _near(self, flag: str) -> Iterator[str]:
        """The flags that a mistyped one may mean, the nearest first."""
        flags = [option for option in self._option_string_actions if option.startswith("--")]
        bare = _bare(flag).casefold()
        by_last_word = {_bare(option.rpartition(".")[2]): option for option in flags} | self.aliases
        if bare in by_last_word:
            yield by_last_word[bare]
            return
        by_name = {_bare(option).casefold(): option for option in flags} | by_last_word
        close = difflib.get_close_matches(bare, by_name, NEAREST, 0.75)
        yield from dict.fromkeys(map(by_name.__getitem__, close))


def _bare(flag: str) -> str:
    """A flag without its dashes: `--optim.learning-rate` is optim.learning_rate."""
    return flag.lstrip("-").replace("-", "_")
