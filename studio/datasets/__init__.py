"""Bringing pictures in: the picture store, importing, decoding in limited processes, captions, freezing rows."""

from studio.datasets.choosing import choose
from studio.datasets.importing import add
from studio.datasets.library import every, find
from studio.datasets.store import Dataset, NotFound, ReadOnly, begin, picture_path

__all__ = ["Dataset", "NotFound", "ReadOnly", "add", "begin", "choose", "every", "find", "picture_path"]
