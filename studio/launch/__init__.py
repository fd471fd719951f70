"""From a request to a supervised process: the queue, the controls, and the supervisor.

The supervisor is a program of its own, light (no torch), and outlives page and server:

    python -m studio.launch FOLDER --attempt N
"""

from __future__ import annotations

from studio.folders.runs import resume
from studio.launch.command import environment
from studio.launch.controls import actions, ask, cancel, make_way, pause_for_now
from studio.launch.queue import Launcher, spawn
from studio.launch.supervisor import supervise, work_in
from studio.launch.usage import Meter

__all__ = ["Launcher", "Meter", "actions", "ask", "cancel", "environment", "make_way", "pause_for_now", "resume",
           "spawn", "supervise", "work_in"]
