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

    def __init__(self, *args: Any, aliases: dict[str, str] | None = None, **kwargs: Any):
        super().__init__(*args, allow_abbrev=False, **kwargs)
        self.aliases = aliases or {}

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As argparse's; exits with 2 after one sentence on stderr for what cannot be understood."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._of_unknown(unknown, found))
        return found

    def error(self, message: str) -> NoReturn:
        """Exit with 2 after one sentence."""
        self.exit(2, f"{self.prog}: {message}. All there is: {self.prog} --help\n")

    def _of_unknown(self, unknown: Sequence[str], found: Any) -> str:
        flag = next((word for word in unknown if word.startswith("-")), None)
        if flag is None:
            return f"{' '.join(map(repr, unknown))} belongs to no flag"
        flag = flag.partition("=")[0]
        near = list(self._of_command(found)._near(flag))
        return f"there is no flag {flag}" + (f": did you mean {' or '.join(near)}" if near else "")

    def _of_command(self, found: Any) -> Parser:
        """The parser of the command that was named, where there are several."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                chosen = action.choices.get(getattr(found, action.dest, None) or "")
                return chosen if isinstance(chosen, Parser) else self
        return self

    def _near(self, flag: str) -> Iterator[str]:
        """The flags that a mistyped one may mean, the nearest first."""
        flags = [option for option in self._option_string_actions if option.startswith("--")]
        bare = flag.lstrip("-").replace("-", "_").casefold()
        last = {**{option.rpartition(".")[2].lstrip("-").replace("-", "_"): option for option in flags},
                **self.aliases}
        if bare in last:
            yield last[bare]
            return
        names = {option.lstrip("-").replace("-", "_").casefold(): option for option in flags} | last
        close = difflib.get_close_matches(bare, names, NEAREST, 0.75)
        yield from list(dict.fromkeys(names[name] for name in close))[:NEAREST]
