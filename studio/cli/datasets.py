"""Bring pictures in from the shell, and take a data set away.

    python -m studio.datasets import PATH... [--name N] [--background #rrggbb] [--caption-from "file name"]
    python -m studio.datasets import hub:user/name [--split train] [--image-column image] [--max-rows 1000]
    python -m studio.datasets import PATH... --caption-column description --encoding Shift-JIS
    python -m studio.datasets read-again ID --caption-column description
    python -m studio.datasets preview hub:user/name
    python -m studio.datasets export ID FILE.zip
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

from studio import datasets, secrets, storage
from studio.datasets.exports import outgoing
from studio.datasets.imports.sources import walk
from studio.datasets.schema import ImportReport
from studio.folders.work import Refused
from studio.storage import faults
from studio.system import shell, surroundings

HUB = "hub:"


def parser() -> shell.Parser:
    """The commands and their flags."""
    parser = shell.Parser(prog="python -m studio.datasets", description=__doc__,
                          formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=shell.Parser)
    bring = commands.add_parser("import", help="import pictures")
    bring.add_argument("paths", nargs="+", metavar="PATH", help="pictures, archives, folders; or one hub:user/name")
    bring.add_argument("--name", help="the data set's name (default: the path's)")
    bring.add_argument("--owner", default="local", help="whose it is (default: local)")
    bring.add_argument("--background", default="#ffffff", help="colour under transparent parts (default: #ffffff)")
    bring.add_argument("--caption-from", default="nothing", help="caption of a picture without one: nothing, "
                       "`file name` or `folder name`")
    again = commands.add_parser("read-again", help="take the captions of the last import anew, otherwise")
    again.add_argument("id", metavar="ID", help="the data set's id")
    again.add_argument("--caption-from", default=None, help="as of import")
    for command in (bring, again):
        command.add_argument("--encoding", help="of caption files, where it is not to be recognised: UTF-8, Shift-JIS, "
                             "GBK, Windows-1251, ...")
    bring.add_argument("--root", action="append", type=Path, default=[], help="folder in which absolute paths of a "
                       "JSON-lines file may lie; can be given several times")
    look = commands.add_parser("preview", help="columns and first rows of a Hub data set")
    look.add_argument("paths", nargs=1, metavar="hub:user/name")
    take = commands.add_parser("export", help="a data set as a zip of an imagefolder with its captions")
    take.add_argument("id", metavar="ID", help="the data set's id, or `sample`")
    take.add_argument("file", metavar="FILE", type=Path, help="the zip to write")
    for command in (bring, look):
        for flag in ("config", "split", "revision", "data-dir"):
            command.add_argument(f"--{flag}", help="of a Hub data set")
        command.add_argument("--data-files", action="append", help="of a Hub data set; can be given several times")
        command.add_argument("--max-rows", type=int, help="of a Hub data set: read so many rows at most")
    for command in (bring, again, look):
        command.add_argument("--image-column", metavar="NAME", help="of tables: the column of pictures, or of their "
                             "names")
        command.add_argument("--caption-column", metavar="NAME", help="of tables and JSON: the column of captions")
    return parser


def source_of(args: argparse.Namespace) -> datasets.HubSource:
    """The Hub data set that is meant. Raises datasets.InvalidOptions."""
    names = ("config", "split", "revision", "data_dir", "image_column", "caption_column", "data_files", "max_rows")
    wish = {name: getattr(args, name) for name in names}
    return datasets.HubSource.of({"name": args.paths[0].removeprefix(HUB), **wish})


def bring(args: argparse.Namespace) -> int:
    """Import and print the report; 0 when the data set is ready.

    Raises datasets.InvalidOptions."""
    if len(args.paths) == 1 and args.paths[0].startswith(HUB):
        return bring_hub(args)
    options = datasets.Options(args.background, args.caption_from, tuple(args.root), encoding=args.encoding,
                               image_column=args.image_column, caption_column=args.caption_column)
    paths = [Path(path).absolute() for path in args.paths]
    missing = list(itertools.filterfalse(Path.exists, paths))
    if missing:
        raise datasets.InvalidOptions(f"There is no {', '.join(map(str, missing))}.")
    dataset = datasets.begin(storage.home(), args.name or paths[0].stem, args.owner)
    return tell(dataset, datasets.add(dataset, itertools.chain.from_iterable(map(walk, paths)), show, options))


def bring_hub(args: argparse.Namespace) -> int:
    """Import the rows of a Hub data set, and print the report; 0 when the data set is ready.

    Raises datasets.InvalidOptions."""
    source = source_of(args)
    options = datasets.Options(args.background, args.caption_from, tuple(args.root), encoding=args.encoding)
    dataset = datasets.begin(storage.home(), args.name or source.name, args.owner, {"kind": "hub", **source.wish()})
    return tell(dataset, datasets.add_hub(dataset, source, secrets.own_token(), show, options))


def show(done: int, of: int) -> None:
    """The progress, on one line."""
    print(f"\r{done} of {of or '?'} pictures", end="", flush=True)


def tell(dataset: datasets.Dataset, report: ImportReport) -> int:
    """Print the report: first which words did not arrive, and how to say where they are."""
    if report.get("headline"):
        print(f"\r{report['headline']}")
        print(f"\rsay it by: python -m studio.datasets read-again {dataset.id} --caption-column NAME "
              "(or --image-column, --encoding, --caption-from)")
    for code in report.get("encodings", ()):
        guess = "" if code["sure"] else " (a guess)"
        print(f"\rencoding {code['encoding']}{guess}: {code['files']} files, such as {code['file']}: {code['sample']}")
    for line in report["skipped"]:
        print(f"\rskipped  {line['file']}: {line['reason']}")
    for note in report["notes"]:
        print(f"\rnote     {note}")
    skipped = report["seen"] - report["used"] - report["converted"]
    print(f"\r{report['seen']} files seen: {report['used']} used, {report['converted']} converted, {skipped} skipped")
    print(report["error"] or f"{dataset.count} pictures in data set {dataset.id} ({dataset.name})")
    return int(dataset.state != "ready")


def read_again(args: argparse.Namespace) -> int:
    """Read the words of the last import by other wishes, and print the report. Raises datasets.InvalidOptions."""
    dataset = _named(args.id)
    wishes: dict[str, Any] = datasets.read_before(dataset)
    for name in ("image_column", "caption_column", "encoding", "caption_from"):
        wish = getattr(args, name)
        if wish is not None:
            wishes[name] = wish
    return tell(dataset, datasets.read_again(dataset, datasets.Options(**wishes), show))


def _named(id: str) -> datasets.Dataset:
    """The data set of that id. Raises datasets.InvalidOptions."""
    try:
        return datasets.find(storage.home(), id)
    except datasets.NotFound:
        known = ", ".join(f"{dataset.id} ({dataset.name})" for dataset in datasets.every(storage.home()))
        raise datasets.InvalidOptions(f"There is no data set {id[:64]!r}; there are: {known or 'none'}.") from None


def take(args: argparse.Namespace) -> int:
    """Write a data set into a zip; 0 when it is there. Raises datasets.InvalidOptions."""
    dataset = _named(args.id)
    if args.file.is_dir() or not args.file.absolute().parent.is_dir():
        raise datasets.InvalidOptions(f"{args.file} cannot be written: name a file in a folder that is there.")
    size = outgoing.write(dataset, args.file)
    print(f"{dataset.count} pictures of {dataset.name!r} in {args.file} ({size / 1e6:.1f} MB)")
    return 0


def look(args: argparse.Namespace) -> int:
    """Print the columns and the first rows of a Hub data set as JSON; 0.

    Raises datasets.InvalidOptions, datasets.UnreadableTable."""
    preview = datasets.preview(storage.home(), source_of(args), secrets.own_token())
    for row in preview["rows"]:
        row.pop("thumb")
    print(json.dumps(preview, ensure_ascii=False, indent=1))
    return 0


COMMANDS = {"import": bring, "read-again": read_again, "export": take, "preview": look}


def main(argv: list[str] | None = None) -> int:
    """0 when all went well; 1 when nothing can be used; 2 a wrong call."""
    surroundings.use_utf8()
    for sentence in surroundings.drop_unusable(os.environ):
        print(sentence, file=sys.stderr)
    args = parser().parse_args(argv)
    try:
        surroundings.home(storage.home)
        return COMMANDS[args.command](args)
    except (surroundings.UnusableEnvironment, datasets.InvalidOptions, datasets.UnreadableTable,
            datasets.EmptyDataset, storage.Corrupt, Refused, OSError) as problem:
        print(faults.in_shell(problem), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
