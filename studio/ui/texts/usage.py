"""The lines of the text table about the room that people's things take, on the pages *Runs* and *Datasets*."""

from __future__ import annotations

TABLE: dict[str, str] = {
    "usage.used": "Your things take {used}.",
    "usage.of": "Your things take {used} of the {limit} that you may keep here.",
    "usage.trash": "{size} lie in the trash.",
    "usage.trash_gives_way": "{size} lie in the trash, and go when you need the room.",
    "usage.waiting": "{runs} of {most_runs} runs and {jobs} of {most_jobs} jobs are waiting.",
    "usage.share": "Share of the room that you may use",
    "usage.all": "What everybody's things take: {people} people, {free} free on the disk",
    "usage.person": "Person",
    "usage.datasets": "Data sets",
    "usage.runs": "Runs",
    "usage.jobs": "Jobs",
    "usage.bases": "Base models",
    "usage.in_trash": "Trash",
    "usage.empty": "Empty the trash",
    "usage.empty_sure": (
        "Erase everything in the trash of this studio, of everybody who uses it? It cannot be brought back."),
    "usage.emptied": "Erased: {count}.",
}
