"""Every package that the code imports itself is named in the requirements, with bounds on both sides."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where a package is imported by another name than it is installed by.
NAMES = {"PIL": "pillow", "pynvml": "nvidia-ml-py"}


def required() -> dict[str, str]:
    """Each package with its bounds."""
    lines = [line.partition(";")[0].strip() for name in ("requirements.txt", "requirements-extra.txt")
             for line in (ROOT / name).read_text().splitlines() if line and not line.startswith(("#", "-r"))]
    return {re.split(r"[\[<>=]", line)[0].lower(): line for line in lines}


def imported() -> dict[str, str]:
    """Each foreign package that the sources import, with one of the files that do."""
    found: dict[str, str] = {}
    for path in [ROOT / "app.py", *sorted((ROOT / "studio").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [
                node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            for module in modules:
                found.setdefault(module.partition(".")[0], path.relative_to(ROOT).as_posix())
    return {name: path for name, path in found.items() if name not in (*sys.stdlib_module_names, "studio")}


def test_every_imported_package_is_required() -> None:
    named = required()
    missing = {name: path for name, path in imported().items()
               if NAMES.get(name, name).lower().replace("_", "-") not in {n.replace("_", "-") for n in named}}
    assert not missing


def test_every_requirement_has_bounds_on_both_sides() -> None:
    assert not [line for line in required().values() if not (">=" in line and "<" in line.partition(">=")[2])]
