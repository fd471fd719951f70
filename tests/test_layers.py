"""The laws of the house: who may import whom, what stays light, how large a file, a function and a folder may grow.

Who may import whom is written once, in pyproject.toml, and held by import-linter.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import house

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "studio"
CHECKED = ("studio", "tests", "tools", "benchmarks", "app.py")
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "accelerate")
FILE_LINES, FUNCTION_LINES, FOLDER_FILES = 400, 60, 15
LINTER = Path(sys.executable).with_name("lint-imports")


def room_of(path: Path) -> str:
    """`studio/web/app.py` -> web, `studio/hub.py` -> hub."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def python_files(*tops: str) -> list[Path]:
    """Our Python files below the given names; what others wrote (`vendor/`) is not ours to shape."""
    found: list[Path] = []
    for top in tops:
        path = ROOT / top
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [p for p in found if not {"vendor", "__pycache__"} & set(p.relative_to(ROOT).parts)]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that `path` imports anywhere in it, absolute and dotted, with its line; `from a import b` is a.b."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def contracts_hold(folder: Path) -> subprocess.CompletedProcess[str]:
    """import-linter's verdict on the package in `folder`, by this repository's contracts."""
    return subprocess.run([LINTER, "--config", str(ROOT / "pyproject.toml"), "--no-cache"], cwd=folder,
                          env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}, capture_output=True,
                          text=True, timeout=120)


def test_nobody_imports_upward() -> None:
    done = contracts_hold(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file, source, broken", [
    ("folders/runs.py", "from studio import web", "A room imports only from rooms below it"),
    ("folders/runs.py", "def f():\n    import studio.web.app", "A room imports only from rooms below it"),
    ("train/loop.py", "from studio.hub import card", "The trainer knows nothing"),
    ("launch/queue.py", "from studio.train import loop", "Page and trainer meet only in files"),
    ("web/app.py", "def f():\n    import torch", "The page is up in seconds"),
    ("jobs/draw.py", "import gradio", "Only studio/ui draws pages"),
    ("new_room.py", "import json", "new_room"),
])
def test_a_trespass_is_seen(tmp_path: Path, file: str, source: str, broken: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "studio", ignore=shutil.ignore_patterns("assets", "static", "__pycache__"))
    with (tmp_path / "studio" / file).open("a") as text:
        text.write(f"\n{source}\n")
    done = contracts_hold(tmp_path)
    assert done.returncode == 1 and broken in done.stdout, done.stdout + done.stderr


def test_only_the_page_knows_gradio_and_only_training_loads_torch_at_import() -> None:
    found = []
    for path in python_files("studio"):
        room, tree = room_of(path), ast.parse(path.read_text())
        top_level = {n.lineno for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)}
        for name, line in imports(path):
            first = name.split(".")[0]
            heavy = first in HEAVY and (line in top_level or room in ("ui", "web")) and room not in ("train", "jobs")
            if heavy or (first == "gradio" and room != "ui"):
                found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not found, "\n".join(found)


def loaded_after(statement: str) -> set[str]:
    """The top-level modules a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport sys\nprint(' '.join(sorted(name.split('.')[0] for name in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_page_starts_without_torch() -> None:
    loaded = loaded_after("import studio.ui.app, studio.web.app")
    assert not loaded & set(HEAVY)
    assert {"gradio", "fastapi"} <= loaded


def test_the_trainer_starts_without_gradio() -> None:
    loaded = loaded_after("import studio.train.loop")
    assert not loaded & {"gradio", "fastapi"}
    assert "torch" in loaded


def test_folders_stay_small() -> None:
    full = {}
    for folder in {path.parent for path in python_files("studio")}:
        files = len(list(folder.glob("*.py")))
        if folder.name != "families" and files > FOLDER_FILES:  # one file a family is the point
            full[str(folder.relative_to(ROOT))] = files
    assert not full, f"a folder of code has at most {FOLDER_FILES} files: {full}"


def test_every_file_opens_with_what_it_is() -> None:
    bare = [str(p.relative_to(ROOT)) for p in python_files(*CHECKED) if not ast.get_docstring(ast.parse(p.read_text()))]
    assert not bare, f"no docstring at the top of: {bare}"


def test_files_and_functions_stay_small() -> None:
    large = []
    for path in python_files(*CHECKED):
        text, name = path.read_text(), path.relative_to(ROOT)
        if (lines := len(text.splitlines())) > FILE_LINES:
            large.append(f"{name} has {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                span = (node.end_lineno or node.lineno) - node.lineno + 1
                if span > FUNCTION_LINES:
                    large.append(f"{name}:{node.lineno} {node.name} has {span} lines")
    assert not large, f"files have at most {FILE_LINES} lines, functions {FUNCTION_LINES}:\n" + "\n".join(large)


def test_code_stays_open() -> None:
    counted = house.House()
    for path in python_files("studio", "app.py"):
        counted.add(path)
    in_100 = {name: 100 * counted.nodes[name] / counted.code for name in ("inline branches", "comprehensions")}
    assert in_100["inline branches"] <= 1.5 and in_100["comprehensions"] <= 2.5, in_100
    assert counted.nodes["hints with Any"] <= 120
    assert not {where: value for where, value in counted.complexities.items() if value > house.MOST_COMPLEX}
