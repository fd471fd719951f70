"""A run that travels: one zip with its settings, its pictures and where it stands, to go on with on another machine.

    bundle.json     {bundle: 1, run, base, files: {name: {size, sha256}}}
    config.json dataset.jsonl events.jsonl train.sbatch
    images/<sha256>.<ext>   samples/   checkpoints/checkpoint-N/ (the newest)   base/ (of a base that is a folder)

    python -m studio.bundle pack RUN_FOLDER bundle.zip        python -m studio.bundle unpack bundle.zip
"""

from __future__ import annotations

from studio.bundle.back import take_back
from studio.bundle.layout import BadBundle
from studio.bundle.pack import pack, write
from studio.bundle.unpack import as_a_strangers, unpack

__all__ = ["BadBundle", "as_a_strangers", "pack", "take_back", "unpack", "write"]
