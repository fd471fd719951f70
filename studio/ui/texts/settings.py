"""The lines of the text table that name the settings, their groups and the goals, as they are declared."""

from __future__ import annotations

from studio import config, presets


def _table() -> dict[str, str]:
    table: dict[str, str] = {}
    for section in config.schema()["sections"]:
        table[f"section.{section['name']}"] = section["title"]
        for field in section["fields"]:
            table |= {f"setting.{field['path']}": field["label"], f"setting.{field['path']}.help": field["help"]}
    for goal in presets.GOALS:
        table |= {f"goal.{goal.id}": goal.name, f"goal.{goal.id}.help": goal.help}
    return table


TABLE = _table()
