"""Finds in the sources every sentence that a person may read: what is raised, warned, refused, or kept in a report."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

STUDIO = Path(__file__).resolve().parents[2] / "studio"
TERMINAL = ("__main__.py", "launch/elsewhere.py", "web/settings.py", "ui/", "web/messages", "train/kernels.py",
            "sweeping.py", "surroundings.py")
# Whoever says something, and which of its arguments are sentences.
SAYERS = {
    **dict.fromkeys(("WebError", "LoginNeeded", "TooLarge", "Forbidden", "Unavailable", "NotFound", "Refused",
                     "TooMany", "Busy", "OverQuota", "PublishProblem"), (0, 1)),
    **dict.fromkeys(("Wrong", "Unreadable", "Nothing", "ReadOnly", "BadBundle", "BaseProblem", "NeedsToken", "Corrupt",
                     "Stop", "Unusable", "CannotResume", "WrongPrecision", "Unsaved", "Diverged", "CommandError",
                     "Unfit", "note", "count", "give_up", "NoTable"), (0,)),
    **dict.fromkeys(("fault", "warning", "warn", "skip", "_refuse"), (1,)),
    **dict.fromkeys(("_words", "_error", "_body", "supervisor_error", "CannotStart", "Fault"), (1, 2)),
    **dict.fromkeys(("leave", "answer"), (2,)), "_answer": (2, 3), "make_way": (2, 3), "cancel": (0,), "_ask": (4,),
}
NAMED = ("message", "hint", "problem")  # keyword arguments, keys and attributes that are sentences
LISTS = ("notes", "warnings")  # keys of lists of sentences
RETURNS = ("_refusal", "_problem", "_why", "_unidentified", "what_next", "_start_hint", "advice", "_apply",
           "needs_less_memory", "warnings", "_summary", "_gated", "keep", "note", "_of_table", "_of_given",
           "_of_columns", "remarks", "_why_unused")
TABLES = ("NOT_RESUMABLE", "WHY", "ADVICE", "MESSAGES", "NAMED", "CANCELLED", "TOO_LARGE", "FULL", "HINT",
          "SYSTEM_FILE", "INTERRUPTED", "TOLD", "LONE_TRACKERS", "SIGN_IN", "STILL_WAIT", "NOT_HERE", "CUT", "CONTROL",
          "ENCODED", "DAMAGED", "SURPLUS", "BY_END", "ORPHAN", "NO_CAPTION", "SETTINGS", "COMMENT", "OUTPUT", "TO_FILL",
          "NO_OPTION")


def sentences() -> Iterator[tuple[str, str]]:
    """(where, template) of each; `{}` stands for a value."""
    for path in sorted(STUDIO.rglob("*.py")):
        name = path.relative_to(STUDIO).as_posix()
        if any(part in name for part in TERMINAL):
            continue
        yield from _Reader(name, ast.parse(path.read_text())).all()


def _texts(node: ast.AST) -> Iterator[ast.expr]:
    """Every text in a table."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _texts(child)


class _Reader:
    def __init__(self, name: str, tree: ast.Module):
        self.name, self.tree = name, tree
        self.owner: dict[ast.AST, ast.AST] = {}
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    self.owner[node] = function  # the innermost one comes last

    def all(self) -> Iterator[tuple[str, str]]:
        for node in ast.walk(self.tree):
            for sentence in self._of(node):
                for text in self.expand(sentence):
                    if re.search(r"[a-z]{2}.* ", re.sub(r"\{\}", "", text)):
                        yield f"{self.name}:{sentence.lineno}", " ".join(text.split())

    def _of(self, node: ast.AST) -> Iterator[ast.expr]:
        if isinstance(node, ast.Call):
            yield from self._of_call(node)
        elif isinstance(node, ast.Dict):
            yield from (value for key, value in zip(node.keys, node.values, strict=True)
                        if isinstance(key, ast.Constant) and key.value in NAMED)
            yield from (one for key, value in zip(node.keys, node.values, strict=True)
                        if isinstance(key, ast.Constant) and key.value in LISTS and isinstance(value, ast.List)
                        for one in value.elts)
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
            if isinstance(target, ast.Attribute) and target.attr in NAMED:
                yield node.value
            elif isinstance(target, ast.Name) and target.id in TABLES:
                yield from _texts(node.value)
        elif isinstance(node, ast.Return | ast.Yield) and node.value is not None:
            function = self.owner.get(node)
            if isinstance(function, ast.FunctionDef) and function.name in RETURNS:
                yield node.value

    def _of_call(self, node: ast.Call) -> Iterator[ast.expr]:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        place = ast.unparse(node.func)
        positions: tuple[int, ...] = SAYERS.get(called, ())
        if called == "append" and re.search(r"(warnings|changes|ways|notes)\.append$", place):
            positions = (0,)
        if called == "Problem" and not node.keywords:
            positions = (0, 1, 2)
        if place.startswith("log."):
            positions = ()
        yield from (node.args[at] for at in positions if at < len(node.args))
        yield from (word.value for word in node.keywords if word.arg in NAMED)

    def expand(self, node: ast.expr, depth: int = 3) -> list[str]:
        """What an expression may say."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else ["{}"]
        if isinstance(node, ast.FormattedValue):
            return self.expand(node.value, depth)
        if isinstance(node, ast.JoinedStr):
            return ["".join(parts) for parts in itertools.product(*(self.expand(v, depth) for v in node.values))]
        if isinstance(node, ast.IfExp):
            return [*self.expand(node.body, depth), *self.expand(node.orelse, depth)]
        if isinstance(node, ast.BoolOp):
            return list(dict.fromkeys(text for value in node.values for text in self.expand(value, depth)))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [a + b for a in self.expand(node.left, depth) for b in self.expand(node.right, depth)]
        if isinstance(node, ast.Name) and depth:
            found = [text for value in self._assigned(node) for text in self.expand(value, depth - 1)]
            return list(dict.fromkeys(found)) or ["{}"]
        return ["{}"]

    def _assigned(self, name: ast.Name) -> Iterator[ast.expr]:
        """What the function gives to this name, where that is text."""
        for node in ast.walk(self.owner.get(name, self.tree)):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id == name.id:
                        yield from (node.value,) if isinstance(
                            node.value, ast.Constant | ast.JoinedStr | ast.IfExp) else ()
                    elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        yield from (value for one, value in zip(target.elts, node.value.elts, strict=False)
                                    if isinstance(one, ast.Name) and one.id == name.id
                                    and isinstance(value, ast.Constant | ast.JoinedStr | ast.IfExp))
