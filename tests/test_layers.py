"""The laws of the house: who may import whom, what stays light, how large a file and a function may grow.

The order of the rooms is read from ARCHITECTURE.md, the one place where it is written; ruff's per-folder rules
(`studio/**/ruff.toml`, TID251) and the package's docstring are compared with it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import studio

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "studio"
CHECKED = ("studio", "tests", "tools", "benchmarks", "app.py")
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "accelerate")
FILE_LINES, FUNCTION_LINES = 400, 60


def law_text() -> str:
    """The fenced block of ARCHITECTURE.md in which rooms stand in the order they may import."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    return next(part.strip() for part in text.split("```")[1::2] if part.strip().startswith("__main__ > cli"))


def read_law() -> dict[str, set[str]]:
    """Each room with the rooms it may import: what stands to its right on a line of the law that it opens or is in.

    A line that ends in ">" goes on below, and one that ends in "..." as the line that its last room opens.
    """
    law: dict[str, set[str]] = {}
    lines = [[[room.strip() for room in column.split(",")] for column in line.split(">")]
             for line in re.sub(r">\s*\n", "> ", law_text()).splitlines()]
    for columns in lines:
        if columns[-1] == ["..."]:
            columns = columns[:-2] + next(line for line in lines if line[0] == columns[-2])
        for place, rooms in enumerate(columns):
            right = {room for column in columns[place + 1 :] for room in column}
            for room in rooms:
                law.setdefault(room, set()).update(right)
    law["jobs"].add("train")
    return law


LAW = read_law()


def room_of(path: Path) -> str:
    """`studio/web/app.py` -> web, `studio/runs.py` -> runs."""
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


def trespasses(path: Path) -> list[str]:
    """The imports of `path` that the law does not allow, as `file:line imports room`."""
    own = room_of(path)
    found = []
    for name, line in imports(path):
        parts = name.split(".")
        if parts[0] != "studio" or len(parts) < 2 or parts[1] in (own, "__version__"):
            continue
        if parts[1] not in LAW.get(own, set()):
            found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return found


def test_the_law_is_read_as_it_is_written() -> None:
    assert LAW["storage"] == LAW["fields"] == LAW["zips"] == {"errors", "messages"} and not LAW["messages"]
    assert LAW["config"] == {"settings", "fields", "errors", "messages"}
    below = {"tensors", "scripts", "requests", "faults", "storage", "zips", "limited", "curves", "commandline",
             "surroundings", "lean", "shell", "config", "errors", "messages"}
    assert LAW["events"] == LAW["families"] == LAW["optimizers"] == below
    assert "web" in LAW["ui"] and "ui" not in LAW["web"]
    assert not LAW["train"] & {"ui", "web", "launch", "hub", "export", "jobs"}
    assert not any(LAW[room] & {"train", "jobs"} for room in ("ui", "web", "launch", "prepare"))


def test_every_room_has_its_place() -> None:
    rooms = {room_of(p) for p in python_files("studio")} - {"__init__", "assets"}
    assert rooms <= LAW.keys(), f"no place in ARCHITECTURE.md's order for: {sorted(rooms - LAW.keys())}"


@pytest.mark.parametrize("source, caught", [
    ("from studio import web", True),
    ("def f():\n    import studio.web.app", True),
    ("from studio.web.service import Studio", True),
    ("from . import web", True),
    ("from studio import storage, config, __version__\nimport json", False),
])
def test_the_reading_of_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, caught: bool) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "studio")
    path = tmp_path / "studio" / "runs.py"
    path.parent.mkdir()
    path.write_text(source)
    assert bool(trespasses(path)) is caught


def test_nobody_imports_upward() -> None:
    found = [line for path in python_files("studio") if path != PACKAGE / "__init__.py" for line in trespasses(path)]
    assert not found, "against the order in ARCHITECTURE.md:\n" + "\n".join(found)


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


def test_the_package_states_the_law() -> None:
    lines = [" ".join(line.split()) for line in (studio.__doc__ or "").splitlines()]
    assert all(" ".join(line.split()) in lines for line in law_text().splitlines())


def banned(folder: Path) -> set[str]:
    """What ruff refuses to see imported in `folder`, from the ruff.toml there."""
    settings = tomllib.loads((folder / "ruff.toml").read_text())
    return set(settings["lint"]["flake8-tidy-imports"]["banned-api"])


@pytest.mark.parametrize("room", sorted(r for r in LAW if (PACKAGE / r).is_dir()))
def test_ruff_holds_the_same_law(room: str) -> None:
    want = {f"studio.{other}" for other in LAW.keys() - LAW[room] - {room}}
    want |= {"gradio"} if room != "ui" else set()
    want |= set(HEAVY) if room in ("ui", "web") else set()
    assert banned(PACKAGE / room) == want


def test_ruff_keeps_single_files_from_the_rooms_above() -> None:
    assert banned(PACKAGE) == {"studio.ui", "studio.web", "studio.train", "studio.jobs", "gradio"}


def test_ruff_sees_a_trespass(tmp_path: Path) -> None:
    where = PACKAGE / "train" / "loop.py"
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", str(where), "-"], cwd=ROOT,
        input='"""Doc."""\nfrom studio import web\n\nprint(web)\n', capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "TID251" in done.stdout, done.stdout + done.stderr


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
