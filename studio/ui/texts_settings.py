"""The lines of the text table (`texts.py`) that name the settings, their groups and the goals.

Their English is declared where they are (`studio/settings.py`, `studio/presets.py`); here are the further columns.
"""

from __future__ import annotations

from studio import config, presets

Words = tuple[str, str]  # what it is called, and the sentence under it

SECTIONS: dict[str, tuple[str, ...]] = {
}
GOALS: dict[str, tuple[Words, ...]] = {
}
SETTINGS: dict[str, tuple[Words, ...]] = {
}


def _table() -> dict[str, tuple[str, ...]]:
    made: dict[str, tuple[str, ...]] = {}
    for section in config.schema()["sections"]:
        made[f"section.{section['name']}"] = (section["title"], *SECTIONS.get(section["name"], ()))
        for field in section["fields"]:
            own = ((field["label"], field["help"]), *SETTINGS.get(field["path"], ()))
            made[f"setting.{field['path']}"], made[f"setting.{field['path']}.help"] = zip(*own, strict=True)
    for goal in presets.GOALS:
        own = ((goal.name, goal.help), *GOALS.get(goal.id, ()))
        made[f"goal.{goal.id}"], made[f"goal.{goal.id}.help"] = zip(*own, strict=True)
    return made


TABLE = _table()
