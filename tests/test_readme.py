"""README: its commands, flags, paths, variables and API calls are there, its table is fresh, its program runs."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BODY = README.split("---\n", 2)[2]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", BODY, re.MULTILINE | re.DOTALL)
COMMANDS = [part.strip() for kind, text in BLOCKS if not kind for line in text.splitlines()
            for part in line.split("&&") if re.match(r"\s*(pip|python|docker)\b", part)]
TREE = next(text for _, text in BLOCKS if text.startswith("app.py "))


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    """A command in the repository."""
    return subprocess.run([sys.executable, *argv], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_settings_table_is_fresh() -> None:
    renewed = run("-c", "import sys; sys.path.insert(0, 'tools'); import settings_table as t; "
                        "print(t.renewed(t.README.read_text()), end='')")
    assert renewed.returncode == 0, renewed.stderr
    assert renewed.stdout == README, "README's settings table is stale: run  python tools/settings_table.py --write"


def test_the_two_commands_are_named() -> None:
    assert "pip install -r requirements.txt && python app.py" in README
    assert "pip install -r requirements-dev.txt && python -m pytest" in README


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python") and "pytest" not in c])
def test_each_command_and_each_of_its_flags_exist(command: str) -> None:
    words = shlex.split(command)[1:]
    program = words[:2] if words[0] == "-m" else words[:1]
    verb = [w for w in words[len(program):][:1] if w == "import"]
    helped = run(*program, *verb, "--help")
    assert helped.returncode == 0, helped.stderr
    for flag in (w for w in words if w.startswith("--")):
        assert re.search(rf"(?<![\w.-]){re.escape(flag)}(?![\w.-])", helped.stdout), f"{command}: no {flag}"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("pip")])
def test_each_requirements_file_exists_with_upper_bounds(command: str) -> None:
    file = ROOT / shlex.split(command)[-1]
    lines = [line for line in file.read_text().splitlines() if not line.startswith("-r ")]
    bounded = r"[\w-]+(\[\w+\])?>=[\d.]+,<[\d.]+(; sys_platform == \"\w+\")?"
    assert lines and all(re.fullmatch(bounded, line) for line in lines), lines


def test_each_inline_command_exists() -> None:
    for text in re.findall(r"`(python [^`\n]+)`", BODY):
        words = shlex.split(text)[1:]
        where = ROOT / words[0] if words[0] != "-m" else ROOT / words[1].replace(".", "/")
        assert where.exists(), text


def test_the_tree_lists_what_is_there_and_all_of_it() -> None:
    listed, parent = set(), ""
    for line in TREE.splitlines():
        name = line.split()[0]
        parent = name if not line.startswith(" ") else parent
        listed.add(name.rstrip("/") if not line.startswith(" ") else f"{parent}{name}".rstrip("/"))
    missing = [name for name in listed if not (ROOT / name).exists() and name != "workspace"]
    assert not missing, f"README's tree lists {missing}"
    rooms = {f"studio/{p.name}" for p in (ROOT / "studio").iterdir()
             if (p.is_dir() or p.suffix == ".py") and not p.name.startswith(("__", "."))}
    assert rooms <= listed, f"README's tree lacks {rooms - listed}"


def test_each_link_within_the_repository_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", BODY) if "://" not in link]
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_each_variable_is_read_and_each_that_is_read_is_told() -> None:
    code = "".join(p.read_text() for p in (ROOT / "studio").rglob("*.py"))
    table = {name for line in BODY.splitlines() if line.startswith("| `STUDIO_") or line.startswith("| `HF_")
             for name in re.findall(r"`([A-Z_]+)`", line.split("|")[1])}
    assert not [name for name in table if name not in code]
    container = {"STUDIO_CONTAINER", "STUDIO_SPACE"}  # set by the image and the Space, not by people
    assert set(re.findall(r"env(?:iron)?\.get\([\"'](STUDIO_\w+)", code)) - container <= table


def test_the_front_matter_is_a_docker_space() -> None:
    front = dict(re.findall(r"^(\w+): (.+)$", README.split("---\n", 2)[1], re.MULTILINE))
    assert (front["sdk"], front["app_port"], front["hf_oauth"]) == ("docker", "7860", "true")
    assert front["license"] == "apache-2.0" and len(front["short_description"]) <= 60
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_version_is_one() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    from studio import __version__

    assert version == __version__ and f"## {version}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture
def server(home: Path) -> Iterator[int]:
    """The studio on a free port with an empty home."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "app.py", "--port", str(port), "--home", str(home)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
            break
        except OSError:
            time.sleep(0.1)
    yield port
    process.terminate()
    process.wait(30)


@pytest.mark.timeout(480)
def test_the_program_runs_as_printed(server: int, tmp_path: Path) -> None:
    """Only the port and the length of the run and of its sampling are changed."""
    pictures = sorted((ROOT / "studio" / "assets" / "sample" / "images").iterdir())[:6]
    for picture in pictures:
        (tmp_path / "birds").mkdir(exist_ok=True)
        shutil.copy(picture, tmp_path / "birds")
        (tmp_path / "birds" / picture.with_suffix(".txt").name).write_text(picture.stem)
    shutil.make_archive(str(tmp_path / "birds"), "zip", tmp_path / "birds")
    program = next(text for kind, text in BLOCKS if kind == "python")
    short = ('{"max_steps": 2, "batch_size": 2}, "checkpoint": {"every_steps": 2}, '
             '"sample": {"prompts": ["a bird"], "num_inference_steps": 1, "every_steps": 0}')
    changed = program.replace("7860", str(server)).replace('{"max_steps": 100}', short)
    assert short in changed and str(server) in changed
    done = subprocess.run([sys.executable, "-c", changed], cwd=tmp_path, capture_output=True, text=True, timeout=420)
    assert done.returncode == 0, done.stderr
    shutil.unpack_archive(tmp_path / "model.zip", tmp_path / "model")
    assert list(tmp_path.glob("model/*/model_index.json"))
