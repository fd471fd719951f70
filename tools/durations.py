"""How long the tests take, by file and the twenty slowest, from pytest's report.

    python -m pytest -n 2 --junit-xml report.xml; python tools/durations.py report.xml [--write]

With --write the seconds by file are kept in tests/durations.json, by which several processes of pytest take the longest
files first (tests/conftest.py).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path
from xml.etree import ElementTree

KEPT = Path(__file__).resolve().parents[1] / "tests" / "durations.json"
SLOWEST = 20


def cases(report: Path) -> list[tuple[str, str, float]]:
    """Of each test: its file, its name, and the seconds of its setup, its call and its teardown."""
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        module = case.get("classname") or case.get("name") or ""  # a file that could not be read has no class
        found.append((f"{module.replace('.', '/')}.py", case.get("name", ""), float(case.get("time", 0))))
    return found


def main() -> None:
    """Print both lists; keep the first where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    every = cases(asked.report)
    seconds, count = defaultdict[str, float](float), Counter(file for file, _, _ in every)
    for file, _, took in every:
        seconds[file] += took
    for file, took in sorted(seconds.items(), key=lambda pair: -pair[1]):
        print(f"{took:7.1f} s  {count[file]:4} tests  {file}")
    print(f"{sum(seconds.values()):7.1f} s  {len(every):4} tests in all; the slowest:")
    for file, name, took in sorted(every, key=lambda case: -case[2])[:SLOWEST]:
        print(f"{took:7.1f} s  {file}::{name}")
    if asked.write:
        kept = {file: round(took) for file, took in sorted(seconds.items())}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
