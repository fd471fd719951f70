"""What all models of the API share: how strictly a request is read, the shape of an error, and types of fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from studio.config import Config
from studio.messages import JsonObject

UNKNOWN_FIELD = "unknown_field"  # the type of a pydantic error; its `ctx` has the field, and those that there are
State = Literal["queued", "starting", "running", "stopping", "paused", "interrupted", "finished", "stopped",
                "cancelled", "failed", "diverged"]
Weights = Literal["raw", "ema"]


class Request(BaseModel):
    """A JSON object of known fields, each of its own type or null, which is as good as left out.

    A name that is not known is the one fault that is told, however many there are."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_fields(cls, body: object) -> object:
        if not isinstance(body, dict):
            return body
        unknown = body.keys() - cls.model_fields.keys()
        if unknown:
            raise PydanticCustomError(UNKNOWN_FIELD, "unknown field",
                                      {"field": min(unknown), "known": list(cls.model_fields)})
        return body

    def sent(self) -> dict[str, Any]:
        """The fields that are there, null or not, in the model's order."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}

    def given(self) -> dict[str, Any]:
        """The fields that are there and not null."""
        return {name: value for name, value in self.sent().items() if value is not None}


def _as_it_is(value: object) -> object:
    return value


# A partial config. It is checked where it is used: a fault of one is told by its setting (`ConfigError`).
Settings = Annotated[dict[str, Any], BeforeValidator(_as_it_is, json_schema_input_type=Config)]
# Lists whose items are looked at where they are used, which stops at the first that is wrong.
Texts = Annotated[list[Any], WithJsonSchema({"type": "array", "items": {"type": "string"}})]
Numbers = Annotated[list[Any], WithJsonSchema({"type": "array", "items": {"type": "integer"}})]
# Text that is looked at where it is used, together with other fields.
Text = Annotated[Any, WithJsonSchema({"type": "string"})]


class Problem(BaseModel):
    """One fault of a config."""

    field: str
    message: str


class Fault(BaseModel):
    """What went wrong, and what to do."""

    code: str
    message: str
    hint: str
    request_id: str | None = None
    problems: list[Problem] = []


class Error(BaseModel):
    """Every answer from status 400 on."""

    error: Fault


class Remark(BaseModel):
    """Something that a run or a job warns of."""

    code: str | None
    message: str | None


class Failure(BaseModel):
    """Why a run or a job ended badly."""

    code: str
    message: str
    hint: str = ""
    evidence: object = None


def multipart(model: type[BaseModel]) -> JsonObject:
    """What OpenAPI says of a body that a handler reads from the stream: a form with files."""
    return {"requestBody": {"content": {"multipart/form-data": {"schema": model.model_json_schema()}}}}
