"""python -m studio trash list | restore ID ... | empty [ID ...]"""

from __future__ import annotations

import argparse
import sys
import time

from studio import storage, trash
from studio.messages import Message
from studio.system.shell import Parser
from studio.trash import Entry, Refused


def add_to(commands: argparse._SubParsersAction[Parser]) -> None:
    """Make it known to the parser of all commands."""
    parser = commands.add_parser("trash", help="what was deleted: look, put back, or remove for good",
                                 description="What was deleted stays in the trash for seven days.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="what is there, newest first")
    listing.set_defaults(run=show)
    restoring = verbs.add_parser("restore", help="put things back where they were")
    restoring.add_argument("id", nargs="+", help="as `list` names it")
    restoring.set_defaults(run=restore)
    emptying = verbs.add_parser("empty", help="remove everything for good, or what is named")
    emptying.add_argument("id", nargs="*", help="as `list` names it; without one, everything")
    emptying.set_defaults(run=empty)


def show(args: argparse.Namespace) -> int:
    """One line for each."""
    entries = trash.entries(storage.home())
    for entry in entries:
        days = max(0.0, entry.gone_at - time.time()) / trash.DAY
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.deleted))
        print(f"{entry.id}  {when}  {days:3.1f} days left  {_size(entry.size()):>9}  {entry.kind:10}  {_title(entry)}")
    if not entries:
        print("The trash is empty.")
    return 0


def restore(args: argparse.Namespace) -> int:
    """1 when any could not be put back."""
    failed = False
    for entry_id in args.id:
        entry = trash.find(storage.home(), entry_id)
        try:
            if entry is None:
                raise Refused(Message("there is nothing of that id in the trash: `python -m studio trash list` shows "
                                      "what is"))
            trash.restore(entry)
            print(f"restored: {entry.kind} {_title(entry)}")
        except Refused as refusal:
            print(f"{entry_id}: {refusal}", file=sys.stderr)
            failed = True
    return int(failed)


def empty(args: argparse.Namespace) -> int:
    """1 when one that was named is not there."""
    chosen = trash.entries(storage.home())
    missing: set[str] = set()
    if args.id:
        missing = set(args.id) - {entry.id for entry in chosen}
        chosen = [entry for entry in chosen if entry.id in args.id]
        for entry_id in sorted(missing):
            print(f"{entry_id}: there is nothing of that id in the trash", file=sys.stderr)
    freed = 0
    for entry in chosen:
        size = entry.size()
        trash.remove(entry)
        freed += size
    print(f"removed {len(chosen)} of the trash: {_size(freed)} freed")
    return int(bool(missing))


def _title(entry: Entry) -> str:
    if entry.title:
        return f"{entry.title} ({entry.name})"
    return f"({entry.name})"


def _size(count: int) -> str:
    if count >= 1e8:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB"
