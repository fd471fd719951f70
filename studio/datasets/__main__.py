"""Bring pictures in from the shell.   python -m studio.datasets import PATH... [--name N] [--owner O]"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from studio import datasets, storage


def files_under(path: Path) -> Iterator[tuple[str, Path]]:
    """A file by its name, or every file below a folder by its relative path; links are not followed."""
    if not path.is_dir():
        yield path.name, path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            full = Path(folder) / name
            yield full.relative_to(path).as_posix(), full


def main() -> int:
    """Import and print the report; 0 when the data set is ready."""
    parser = argparse.ArgumentParser(prog="python -m studio.datasets", description=__doc__)
    command = parser.add_subparsers(dest="command", required=True).add_parser("import", help="import pictures")
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures, zips or folders")
    command.add_argument("--name", help="the data set's name (default: the path's)")
    command.add_argument("--owner", default="local", help="whose it is (default: local)")
    given = parser.parse_args()
    missing = [str(path) for path in given.paths if not path.exists()]
    if missing:
        parser.error(f"there is no {', '.join(missing)}")
    files = [file for path in given.paths for file in files_under(path.absolute())]
    dataset = datasets.begin(storage.home(), given.name or given.paths[0].absolute().stem, given.owner)
    report = datasets.add(dataset, files, lambda done, of: print(f"\r{done} of {of} pictures", end="", flush=True))
    for line in report["skipped"]:
        print(f"\rskipped  {line['file']}: {line['reason']}")
    for note in report["notes"]:
        print(f"\rnote     {note}")
    print(f"\r{report['seen']} files seen: {report['used']} used, {report['converted']} converted, "
          f"{len(report['skipped'])} skipped")
    print(report["error"] or f"{dataset.count} pictures in data set {dataset.id} ({dataset.name})")
    return 0 if dataset.state == "ready" else 1


if __name__ == "__main__":
    sys.exit(main())
