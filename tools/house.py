"""The house in numbers: how long and dense its functions are, how full its folders.  python tools/house.py [FILE...]

Counts studio/ and app.py, or the files named. Complexity is radon's (pip install -r requirements-dev.txt).
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from radon.visitors import ComplexityVisitor

ROOT = Path(__file__).resolve().parents[1]
LONGEST, MOST_COMPLEX, FULLEST = 60, 12, 15
FREE = ("families",)  # folders that may hold any number of files: one per kind is the point
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass
class House:
    """What is counted, over all files."""

    code: int = 0  # lines with code: no blank ones, comments or docstrings
    described: int = 0  # of these, lines that only say how data looks: schemas of the API, TypedDicts
    lengths: dict[str, int] = field(default_factory=dict)  # of a function's body, in lines of code
    complexities: dict[str, int] = field(default_factory=dict)
    nodes: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)

    def add(self, path: Path) -> None:
        """Count one file."""
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix()
        tree = ast.parse(text)
        lines = code_lines(text)
        self.code += len(lines)
        self.described += len(lines if "schemas" in path.parts else typed_lines(tree, lines))
        self.folders[path.parent.relative_to(ROOT).as_posix()] += 1
        for function in functions(tree):
            body = range(function.body[0].lineno, (function.end_lineno or 0) + 1)
            self.lengths[f"{name}:{function.lineno} {function.name}"] = len(lines.intersection(body))
        for node in ast.walk(tree):
            if isinstance(node, ast.IfExp):
                self.nodes["inline branches"] += 1
            elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
                self.nodes["comprehensions"] += 1
            elif is_open(node):
                self.nodes["hints with Any"] += 1
        visitor = ComplexityVisitor.from_code(text)
        blocks = [*visitor.functions]
        for class_ in visitor.classes:
            blocks += class_.methods
        for block in blocks:
            self.complexities[f"{name}:{block.lineno} {block.name}"] = block.complexity

    def lines(self) -> list[str]:
        """The numbers, a line for each."""
        lengths = list(self.lengths.values())
        complex_ones = {where: number for where, number in self.complexities.items() if number > MOST_COMPLEX}
        full = {name: number for name, number in self.folders.items()
                if number > FULLEST and not name.endswith(FREE)}
        return [
            f"lines of code: {self.code:,}, {self.code - self.described:,} without schemas and TypedDicts",
            f"functions: {len(lengths):,}; lines of code in one: median {statistics.median(lengths):g}, "
            f"p90 {statistics.quantiles(lengths, n=10)[-1]:g}, longest {max(lengths)} (at most {LONGEST})",
            f"inline branches in 100 lines: {100 * self.nodes['inline branches'] / self.code:.1f}",
            f"comprehensions in 100 lines: {100 * self.nodes['comprehensions'] / self.code:.1f}",
            f"hints with Any: {self.nodes['hints with Any']}",
            f"complexity above {MOST_COMPLEX}: {listed(complex_ones)}",
            f"folders of more than {FULLEST} files: {listed(full)}"]


def code_lines(text: str) -> set[int]:
    """The numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def typed_lines(tree: ast.AST, lines: set[int]) -> set[int]:
    """The lines of code that belong to TypedDicts."""
    names = {"TypedDict"}
    typed: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and names & {ast.unparse(base) for base in node.bases}:
            names.add(node.name)  # one may extend it
            typed |= lines.intersection(range(node.lineno, (node.end_lineno or 0) + 1))
    return typed


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method, those within others too."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def is_open(node: ast.AST) -> bool:
    """Whether this is a parameter, a variable or a function whose hint says Any."""
    if isinstance(node, ast.arg | ast.AnnAssign):
        hint = node.annotation
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        hint = node.returns
    else:
        return False
    return hint is not None and any(isinstance(part, ast.Name) and part.id == "Any" for part in ast.walk(hint))


def listed(numbers: dict[str, int]) -> str:
    """Names with their numbers, the highest first."""
    ordered = sorted(numbers.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{name} {number}" for name, number in ordered) or "none"


def main() -> int:
    """Print the numbers of this tree."""
    house = House()
    named = [Path(name).resolve() for name in sys.argv[1:]]
    for path in named or [*sorted((ROOT / "studio").rglob("*.py")), ROOT / "app.py"]:
        house.add(path)
    print("\n".join(house.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
