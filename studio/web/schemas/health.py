"""The health of data sets, what the model sees, and captions in bulk."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from studio.web.schemas.base import Request, Texts
from studio.web.schemas.datasets import Brief, Image

Resolution = Annotated[int | None, Field(description="From 8 to 8192 pixels; by default what the base trains at.")]


class FixRequest(Request):
    """A finding to put right by one of its fixes, for all its pictures or those of `ids`."""

    finding: str | None = None
    fix: str | None = None
    ids: Texts | None = None
    resolution: Resolution = None
    base: str | None = None
    trigger: str | None = None


class Seeing(Request):
    """A base and how it is to train, to see a picture as it does."""

    resolution: Resolution = None
    base: str | None = None
    buckets: bool | None = None


class Encoder(BaseModel):
    """A text encoder of the base, and how many tokens it reads."""

    name: str
    limit: int


class FlawedImage(Image):
    """A picture with what is wrong with it, by the kind of finding: `of`, the copy that is kept; `side`, `aspect` or
    `blur`; `times` that a caption is used; `encoders` that cut captions, each {encoder, tokens, limit, caption,
    cut}."""

    model_config = ConfigDict(extra="allow")


class Finding(BaseModel):
    """One kind of fault: how many pictures have it, the first 50 of them, its fixes, the best first; copies, and
    pictures of one caption, come in `groups` of ids.

    `exact_duplicates`, `near_duplicates` (few of 64 bits apart, with like colours), `too_small`, `extreme_aspect` and
    `blurred` are put right by `exclude`; `no_caption` by `name_as_caption`, `duplicate_captions` by `add_name`,
    `long_captions` by `shorten`, `no_trigger` by `add_trigger`."""

    code: str
    count: int
    fixes: list[str]
    items: list[FlawedImage]
    groups: list[list[str]]


class Bin(BaseModel):
    """So many pictures from one value up to another (null: no end)."""

    from_: float = Field(alias="from")
    to: float | None
    count: int


class Bucket(BaseModel):
    """So many pictures are trained on at this size."""

    width: int
    height: int
    count: int


class Health(BaseModel):
    """What may spoil a training; `measured` of `count` pictures were looked at closely."""

    id: str
    count: int
    measured: int
    resolution: int
    trigger: str
    encoders: list[Encoder]
    findings: list[Finding]
    short_side: list[Bin]
    aspect: list[Bin]
    buckets: list[Bucket]


class Changed(Brief):
    """The data set, and how many pictures were changed. A change of the shipped set makes a copy first: go on with the
    `id` here."""

    changed: int


class ReadCaption(BaseModel):
    """A caption as one encoder reads it: tokens as [start, end] in characters; from character `kept` on, `cut` is not
    read."""

    encoder: str
    limit: int
    tokens: list[list[int]]
    kept: int
    cut: str


class CaptionTokens(BaseModel):
    """A caption, by encoder."""

    caption: str
    encoders: list[ReadCaption]


class Tokens(BaseModel):
    """A picture's captions as the base's text encoders read them."""

    captions: list[CaptionTokens]


# -------------------------------------------------------------------------------------------------------- captions


class Tag(BaseModel):
    """A comma-separated part of captions."""

    tag: str
    count: int


class Tags(BaseModel):
    """The most used first."""

    items: list[Tag]
    total: int
    next: None


class CaptionEdit(Request):
    """One change of many captions: of the pictures that `q` finds or of `ids`; with `preview` nothing is changed."""

    find: str | None = None
    replace: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    trigger: str | None = None
    match_case: bool | None = None
    whole_words: bool | None = None
    q: str | None = None
    ids: Texts | None = None
    preview: bool | None = None


class Example(BaseModel):
    """What an edit would make of a picture's captions."""

    id: str
    before: list[str]
    after: list[str]


class EditPreview(BaseModel):
    """How many pictures an edit would change, and the first of them."""

    changed: int
    examples: list[Example]


class Captioning(Request):
    """A model to suggest captions, of `ids` or of pictures without one."""

    model: str | None = Field(default=None, description="A Hub id, or a folder where the server is one's own.")
    ids: Texts | None = None
    prompt: str | None = None
    missing_only: bool | None = None
    max_new_tokens: int | None = None


class Suggestion(Image):
    """A caption that a model suggests."""

    suggestion: str
    model: str | None


class Suggestions(BaseModel):
    """Those that nobody has decided on."""

    items: list[Suggestion]
    total: int
    next: int | None


class Decision(Request):
    """Whether to apply suggestions, all or those of `ids`, and how: replace, append or prepend."""

    apply: bool | None = None
    ids: Texts | None = None
    how: str | None = None
