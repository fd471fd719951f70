"""The picture store: importing, decoding in limited processes, captions, freezing rows, taking a data set away."""

from studio.datasets.exports.outgoing import EmptyDataset, pack, ready
from studio.datasets.import_if_needed import advice, ensure
from studio.datasets.imports.hubsource import HubSource, UnreadableTable, preview
from studio.datasets.imports.importing import Place, add, add_folder, add_hub, commit, read_again
from studio.datasets.imports.sources import within
from studio.datasets.imports.words import are_kept as can_read_again
from studio.datasets.imports.words import read_before
from studio.datasets.library import every, find, sweep
from studio.datasets.options import InvalidOptions, Options
from studio.datasets.references import relying, rows_named
from studio.datasets.splits import train_and_held_out
from studio.datasets.store import Dataset, NotFound, ReadOnly, begin, draft, picture_path

__all__ = ["Dataset", "HubSource", "NotFound", "EmptyDataset", "Options", "Place", "ReadOnly", "UnreadableTable",
           "InvalidOptions", "add", "add_folder", "add_hub", "advice", "begin", "can_read_again", "train_and_held_out",
           "commit", "draft", "ensure", "every", "find", "pack", "picture_path", "preview", "read_again", "read_before",
           "ready", "relying", "rows_named", "sweep", "within"]
