"""What a setting and a group of settings are: how they are declared, and how they describe themselves as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, TypedDict, Unpack, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from studio.errors import Problem
from studio.messages import Message


class Limits(TypedDict, total=False):
    """What a setting may be, in pydantic's words."""

    ge: float
    gt: float
    le: float
    lt: float
    multiple_of: float
    min_length: int
    max_length: int
    pattern: str


class SettingSchema(TypedDict):
    """One setting as data. `kind` is bool, int, float, text, choice, choices (of several) or lines; `limits` says the
    `choices` and `bounds` in words; `reference` is its name in `train_text_to_image.py`."""

    path: str
    section: str
    name: str
    kind: str
    default: object
    label: str
    help: str
    choices: list[str] | None
    bounds: dict[str, float]
    limits: str
    nullable: bool
    reference: str | None
    basic: bool
    expert: bool


class SectionSchema(TypedDict):
    """A group of settings as data."""

    name: str
    title: str
    fields: list[SettingSchema]


def setting(default: object, label: str, help: str, *, reference: str | None = None, basic: bool = False,
            expert: bool = False, **limits: Unpack[Limits]) -> Any:
    """One setting. `reference` is its name in `train_text_to_image.py`; `basic` shows it outside the closed groups,
    `expert` in the last of them: what is measured anyway, or hardly ever touched."""
    extra = {"reference": reference, "basic": basic, "expert": expert}
    return Field(default, title=label, description=help, json_schema_extra=extra,
                 **limits)


class Section(BaseModel):
    """A group of settings; unknown names are refused and numbers must be finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_assignment=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and bool not in _types(cls.model_fields[info.field_name or ""]):
            raise ValueError(Message("must not be true or false"))
        return value


# What pydantic says of a value, without the "Input" that it begins with.
_PLAIN_REFUSALS = {
    "int_type": Message("should be a valid integer"),
    "int_parsing": Message("should be a valid integer, unable to parse string as an integer"),
    "int_from_float": Message("should be a valid integer, got a number with a fractional part"),
    "int_parsing_size": Message("Unable to parse input string as an integer, exceeded maximum size"),
    "float_type": Message("should be a valid number"),
    "float_parsing": Message("should be a valid number, unable to parse string as a number"),
    "finite_number": Message("should be a finite number"),
    "bool_type": Message("should be a valid boolean"),
    "bool_parsing": Message("should be a valid boolean, unable to interpret input"),
    "string_type": Message("should be a valid string"),
    "list_type": Message("should be a valid list"),
    "dict_type": Message("should be a valid dictionary"),
    "missing": Message("Field required"),
}


def _too_short(of: Mapping[str, object]) -> Message:
    if of["min_length"] == 1:
        return Message("String should have at least {number} character", number=1)
    return Message("String should have at least {number} characters", number=of["min_length"])


_REFUSALS: dict[str, Callable[[Mapping[str, object]], Message]] = {  # of pydantic's `ctx`
    "greater_than_equal": lambda of: Message("should be greater than or equal to {number}", number=of["ge"]),
    "greater_than": lambda of: Message("should be greater than {number}", number=of["gt"]),
    "less_than_equal": lambda of: Message("should be less than or equal to {number}", number=of["le"]),
    "less_than": lambda of: Message("should be less than {number}", number=of["lt"]),
    "multiple_of": lambda of: Message("should be a multiple of {number}", number=of["multiple_of"]),
    "literal_error": lambda of: Message("should be {choices}", choices=of["expected"]),
    "string_too_short": _too_short,
    "string_too_long": lambda of: Message("String should have at most {number} characters", number=of["max_length"]),
    "too_long": lambda of: Message("List should have at most {number} items after validation, not {given}",
                                   number=of["max_length"], given=of["actual_length"]),
    "string_pattern_mismatch": lambda of: Message("String should match pattern {pattern}",
                                                  pattern=f"'{of['pattern']}'"),
}


def refusal(error: ErrorDetails) -> str:
    """What is wrong with a value: an error of pydantic's, or what a validator here raised."""
    context = error.get("ctx", {})
    raised = context.get("error")
    if isinstance(raised, ValueError):
        return str(raised)
    text = error["msg"].removeprefix("Input ")
    message = _PLAIN_REFUSALS.get(error["type"])
    make_message = _REFUSALS.get(error["type"])
    if make_message is not None:
        message = make_message(context)
    if message is not None and message == text:
        return message
    return text  # of a kind that has no template here, or that another pydantic words otherwise


def problem(error: ErrorDetails, settings: Mapping[str, SettingSchema]) -> Problem:
    """An error of pydantic's as a sentence naming its field and what is allowed there; `settings` are all by path."""
    location = [str(part)[:100] for part in error["loc"]]
    path = ".".join(location[:2])
    if error["type"] == "extra_forbidden":
        names = ", ".join(_names_beside(location, settings))
        return Problem(field=path, message=Message("unknown setting; there are: {names}", names=names))
    if error["type"] == "model_type":
        return Problem(field=path, message=Message("a section is an object of settings"))
    message = refusal(error)
    value = error.get("input")
    if path in settings and settings[path]["limits"]:
        message = Message("{message}; allowed: {limits}", message=message, limits=_allowed(settings[path]))
    if isinstance(value, str | int | float):
        message = Message("{message} (given: {value})", message=message, value=repr(str(value)[:60]))
    return Problem(field=path, message=message)


def _names_beside(location: list[str], settings: Mapping[str, SettingSchema]) -> Iterable[str]:
    """The settings of the section that an unknown one lies in; of what lies in none, the sections."""
    names = [field["name"] for field in settings.values() if location[1:] and field["section"] == location[0]]
    return names or dict.fromkeys(field["section"] for field in settings.values())


def _allowed(field: SettingSchema) -> str:
    """The limits of a setting, in words."""
    before, comma, last = field["limits"].rpartition(", ")
    if "multiple_of" not in field["bounds"] or not comma or not last.startswith("a multiple of"):
        return field["limits"]
    return Message("{limits}, a multiple of {number}", limits=before, number=last.rpartition(" ")[2])


def describe(section: str, name: str, field: FieldInfo) -> SettingSchema:
    """One setting as data, for the form, the API and the documents."""
    choices = [leaf for leaf in _leaves(field.annotation) if isinstance(leaf, str)]
    types = _types(field)
    bounds = _bounds(field)
    extra = field.json_schema_extra
    if not isinstance(extra, dict):
        extra = {}
    reference = extra.get("reference")
    if not isinstance(reference, str):
        reference = None
    return {
        "path": f"{section}.{name}", "section": section, "name": name,
        "kind": _kind(types, several="list" in str(field.annotation), chosen=bool(choices)), "default": field.default,
        "label": field.title or name, "help": field.description or "", "choices": choices or None, "bounds": bounds,
        "limits": _limits_text(bounds, choices), "nullable": type(None) in types, "reference": reference,
        "basic": bool(extra.get("basic")), "expert": bool(extra.get("expert")),
    }


def _kind(types: set[type], several: bool, chosen: bool) -> str:
    """The `kind` of a setting that holds values of these types: one or several, typed or `chosen` from a list."""
    if chosen and several:
        return "choices"
    if chosen:
        return "choice"
    if several:
        return "lines"
    for kind in (bool, int, float):
        if kind in types:
            return kind.__name__
    return "text"


_BOUND_WORDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}


def _bounds(field: FieldInfo) -> dict[str, float]:
    """The limits of a number, by their names in pydantic."""
    bounds: dict[str, float] = {}
    for limit in field.metadata:
        for name in _BOUND_WORDS:
            value = getattr(limit, name, None)
            if value is not None:
                bounds[name] = value
    return bounds


def _limits_text(bounds: dict[str, float], choices: list[str]) -> str:
    """`choices`, else `bounds`, in words."""
    if choices:
        return ", ".join(choices)
    words: list[str] = []
    for name, bound in bounds.items():
        number = f"{bound:g}"
        if abs(bound) >= 1e7:
            number = f"{bound:,}"
        words.append(f"{_BOUND_WORDS[name]} {number}")
    return ", ".join(words)


def _leaves(annotation: object) -> list[object]:
    """The plain types and literal values an annotation is made of (`Literal["no", "fp16"] | None`: no, fp16, None)."""
    parts = get_args(annotation)
    if not parts:
        return [annotation]
    return list(chain.from_iterable(map(_leaves, parts)))


def _types(field: FieldInfo) -> set[type]:
    """The types of a setting's values."""
    types: set[type] = set()
    for leaf in _leaves(field.annotation):
        if isinstance(leaf, type):
            types.add(leaf)
        else:
            types.add(type(leaf))
    return types
