"""Every name that the studio gives, moves or takes on the disk goes through `studio.storage`, where it is durable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMING = {"rename", "renames", "link", "symlink", "unlink", "remove", "rmdir", "removedirs", "rmtree", "move",
          "copytree", "symlink_to", "hardlink_to", "link_to"}
LISTS = {"remove"}  # a list or a set has it too, on one argument
TITLES = {"dataset.rename", "studio.datasets.rename", "studio.runs.rename"}  # a name that people see, in a record


def calls(source: str) -> Iterator[tuple[int, str]]:
    """Each call that gives or takes a name on the disk: its line, and what is called."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, ast.unparse(node.func.value)
        if owner in ("storage", "trash"):
            continue
        module = owner in ("os", "shutil")
        if name == "replace" and (module or len(node.args) == 1 and not node.keywords):  # text is replaced by two
            yield node.lineno, f"{owner}.replace"
        elif name in NAMING and (module or name not in LISTS or "path" in owner):
            yield node.lineno, f"{owner}.{name}"


@pytest.mark.parametrize("source, caught", [
    ("os.replace(a, b)", True), ("path.rename(b)", True), ("path.replace(target)", True), ("shutil.rmtree(x)", True),
    ("path.unlink(missing_ok=True)", True), ("os.link(a, b)", True), ("shutil.move(a, b)", True),
    ("text.replace('a', 'b')", False), ("dataclasses.replace(a, b=1)", False), ("storage.rename(a, b)", False),
    ("names.remove(x)", False), ("dataset.rename(name)", True),
])
def test_what_is_looked_for(source: str, caught: bool) -> None:
    assert bool(list(calls(source))) is caught


def test_nothing_is_renamed_linked_or_removed_outside_storage() -> None:
    found = []
    for path in [*sorted((ROOT / "studio").rglob("*.py")), ROOT / "app.py"]:
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("studio/storage/"):
            found += [f"{name}:{line} {what}" for line, what in calls(path.read_text()) if what not in TITLES]
    assert not found, "use studio.storage:\n" + "\n".join(found)
