"""What a setting and a group of settings are: how they are declared, and how they describe themselves as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo

from studio.messages import Message


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
            raise ValueError(Message("must not be true or false"))
        return value


# What pydantic says of a value, without the "Input" that it begins with.
_REFUSALS: dict[str, Callable[[dict[str, Any]], Message]] = {
    "greater_than_equal": lambda of: Message("should be greater than or equal to {number}", number=of["ge"]),
    "greater_than": lambda of: Message("should be greater than {number}", number=of["gt"]),
    "less_than_equal": lambda of: Message("should be less than or equal to {number}", number=of["le"]),
    "less_than": lambda of: Message("should be less than {number}", number=of["lt"]),
    "multiple_of": lambda of: Message("should be a multiple of {number}", number=of["multiple_of"]),
    "int_type": lambda of: Message("should be a valid integer"),
    "int_parsing": lambda of: Message("should be a valid integer, unable to parse string as an integer"),
    "int_from_float": lambda of: Message("should be a valid integer, got a number with a fractional part"),
    "int_parsing_size": lambda of: Message("Unable to parse input string as an integer, exceeded maximum size"),
    "float_type": lambda of: Message("should be a valid number"),
    "float_parsing": lambda of: Message("should be a valid number, unable to parse string as a number"),
    "finite_number": lambda of: Message("should be a finite number"),
    "bool_type": lambda of: Message("should be a valid boolean"),
    "bool_parsing": lambda of: Message("should be a valid boolean, unable to interpret input"),
    "string_type": lambda of: Message("should be a valid string"),
    "list_type": lambda of: Message("should be a valid list"),
    "dict_type": lambda of: Message("should be a valid dictionary"),
    "literal_error": lambda of: Message("should be {choices}", choices=of["expected"]),
    "string_too_short": lambda of: (
        Message("String should have at least {number} character", number=1) if of["min_length"] == 1 else
        Message("String should have at least {number} characters", number=of["min_length"])),
    "string_too_long": lambda of: Message("String should have at most {number} characters", number=of["max_length"]),
    "too_long": lambda of: Message("List should have at most {number} items after validation, not {given}",
                                   number=of["max_length"], given=of["actual_length"]),
    "string_pattern_mismatch": lambda of: Message("String should match pattern {pattern}",
                                                  pattern=f"'{of['pattern']}'"),
    "missing": lambda of: Message("Field required"),
}


def refusal(error: Mapping[str, Any]) -> str:
    """What is wrong with a value: an error of pydantic's, or what a validator here raised."""
    context = error.get("ctx", {})
    if isinstance(context.get("error"), ValueError):
        return str(context["error"])
    text = error["msg"].removeprefix("Input ")
    message = _REFUSALS[error["type"]](context) if error["type"] in _REFUSALS else text
    return message if message == text else text


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
