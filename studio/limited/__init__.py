"""Processes that read what strangers sent: limited in memory and time, confined to their own folder, without network.

    LimitedProcess, ask_once      start one and ask it          (a program that `serve`s)
    enter, serve                  what such a program begins with
    confine.missing               what this system lacks for the confinement
"""

from __future__ import annotations

from studio.limited.process import (
    LimitedProcess,
    LimitedProcessPool,
    NoAnswer,
    allow_processor,
    ask_once,
    close,
    command,
    enter,
    limit_memory,
    serve,
)

__all__ = ["LimitedProcess", "LimitedProcessPool", "NoAnswer", "allow_processor", "ask_once", "close", "command",
           "enter", "limit_memory", "serve"]
