"""What a setting and a group of settings are: how they are declared, and how they describe themselves as data."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo


def setting(
    default: Any, label: str, help: str, *, reference: str | None = None, basic: bool = False, **limits: Any
) -> Any:
    """One setting. `reference` is its name in `train_text_to_image.py`; `basic` shows it outside the closed groups."""
    extra = {"reference": reference, "basic": basic}
    return Field(default, title=label, description=help, json_schema_extra=extra, **limits)


class Section(BaseModel):
    """A group of settings; unknown names are refused and numbers must be finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_assignment=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_number(cls, value: Any, info: Any) -> Any:
        if isinstance(value, bool) and bool not in _types(cls.model_fields[info.field_name]):
            raise ValueError("must not be true or false")
        return value


def describe(section: str, name: str, field: FieldInfo) -> dict[str, Any]:
    """One setting as data, for the form, the API and the documents."""
    types, choices = _types(field), _choices(field) or None
    kind = next((k for k, t in (("bool", bool), ("int", int), ("float", float)) if t in types), "text")
    several = "list" in str(field.annotation)
    kind = ("choices" if several else "choice") if choices else "lines" if several else kind
    limits = {k: getattr(m, k) for m in field.metadata for k in ("ge", "gt", "le", "lt", "multiple_of")
              if getattr(m, k, None) is not None}
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return {
        "path": f"{section}.{name}", "section": section, "name": name, "kind": kind, "default": field.default,
        "label": field.title, "help": field.description, "choices": choices, "bounds": limits,
        "limits": _limits_text(limits, choices), "nullable": type(None) in types,
        "reference": extra.get("reference"), "basic": bool(extra.get("basic")),
    }


def _limits_text(bounds: dict[str, Any], choices: list[Any] | None) -> str:
    if choices:
        return ", ".join(map(str, choices))
    words = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}
    return ", ".join(f"{words[k]} {v:g}" if abs(v) < 1e7 else f"{words[k]} {v:,}" for k, v in bounds.items())


def _leaves(annotation: Any) -> list[Any]:
    """The plain types and literal values an annotation is made of (`Literal["no", "fp16"] | None`: no, fp16, None)."""
    inner = get_args(annotation)
    return [leaf for part in inner for leaf in _leaves(part)] if inner else [annotation]


def _types(field: FieldInfo) -> set[Any]:
    return {leaf if isinstance(leaf, type) else type(leaf) for leaf in _leaves(field.annotation)}


def _choices(field: FieldInfo) -> list[str]:
    return [leaf for leaf in _leaves(field.annotation) if isinstance(leaf, str)]
