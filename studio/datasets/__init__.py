"""The picture store: importing, decoding in limited processes, captions, freezing rows, taking a data set away."""

from studio.datasets.asked import advice, ensure
from studio.datasets.choosing import choose
from studio.datasets.hubsource import HubSource, Unreadable, preview
from studio.datasets.importing import add, add_folder, add_hub, commit
from studio.datasets.layout import Options, Wrong
from studio.datasets.library import every, find, sweep
from studio.datasets.naming import relying, rows_named
from studio.datasets.outgoing import Nothing, pack, ready
from studio.datasets.sources import within
from studio.datasets.store import Busy, Dataset, NotFound, ReadOnly, announce, begin, draft, picture_path

__all__ = ["Busy", "Dataset", "HubSource", "NotFound", "Nothing", "Options", "ReadOnly", "Unreadable", "Wrong", "add",
           "add_folder", "add_hub", "advice", "announce", "begin", "choose", "commit", "draft", "ensure", "every",
           "find", "pack", "picture_path", "preview", "ready", "relying", "rows_named", "sweep", "within"]
