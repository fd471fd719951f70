"""The lines of the text table that the page *Trash* shows, and what a deletion says."""

from __future__ import annotations

TABLE: dict[str, str] = {
    "trash.title": "Trash",
    "trash.lead": (
        "What you deleted stays here for seven days, on a shared studio only while nothing else of yours needs the "
        "room. Then it is removed for good."),
    "trash.link": "Trash",
    "trash.none_title": "The trash is empty",
    "trash.none_text": "Deleted runs, data sets, drawings and presets come here.",
    "trash.holds": "It holds {size} of the disk.",
    "trash.kind_run": "Run",
    "trash.kind_dataset": "Data set",
    "trash.kind_job": "Drawing or task",
    "trash.kind_preset": "Preset",
    "trash.kind_checkpoint": "{name} of a run",
    "trash.kind_batches": "Files never imported",
    "trash.kind_other": "Something else",
    "trash.column_name": "Name",
    "trash.column_deleted": "Deleted",
    "trash.column_left": "Removed in",
    "trash.column_size": "Size",
    "trash.days": "{count} days",
    "trash.hours": "less than a day",
    "trash.restore": "Restore",
    "trash.restore_one": "Restore {name}",
    "trash.remove": "Remove for good",
    "trash.remove_one": "Remove {name} for good",
    "trash.remove_sure": "Remove {name} for good? It cannot be brought back.",
    "trash.empty": "Empty the trash",
    "trash.empty_sure": "Remove everything in the trash for good? It cannot be brought back.",
    "trash.keep": "Keep it",
    "trash.emptied": "Emptied: {size}. Pictures among it leave the disk within two days.",
    "trash.restored": "{name} is back.",
    "trash.moved": "Moved to the trash.",
    "trash.undo": "Undo",
    "trash.unknown_place": "where it was is not known",
}
