"""Data sets: how pictures come in, what an import did, pictures and captions, health."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from studio.datasets.options import NAMES
from studio.messages import JsonObject
from studio.web.schemas.base import Numbers, Request, Texts

Files = Annotated[list[bytes], WithJsonSchema({"type": "array", "items": {"type": "string", "format": "binary"}})]


# How pictures are brought in and their words are read (`datasets.Options`).
Background = Annotated[str | None, Field(description="The colour that transparent parts are laid on, as #rrggbb.")]
CaptionFrom = Annotated[str | None, Field(description=f"What a picture without a caption takes: {', '.join(NAMES)}.")]
Column = Annotated[str | None, Field(description="Told from the table where it is left out.")]
Encoding = Annotated[str | None, Field(description="Of files of words; told from the file where it is left out.")]


class HowToRead(Request):
    """How captions are read from files of words and tables."""

    caption_from: CaptionFrom = None
    image_column: Column = None
    caption_column: Column = None
    encoding: Encoding = None


class HowToImport(Request):
    """How pictures are brought in."""

    background: Background = None
    caption_from: CaptionFrom = None
    image_column: Column = None
    caption_column: Column = None
    encoding: Encoding = None


class NewDataset(Request):
    """A data set from a source; without one it waits for batches of files and `commit`."""

    name: str | None = None
    source: JsonObject | None = Field(
        default=None, description='{"kind": "hub", "name": "user/name", ...} or {"kind": "folder", "path": ...} inside '
        "the folders that are open to imports")
    background: Background = None
    caption_from: CaptionFrom = None
    image_column: Column = None
    caption_column: Column = None
    encoding: Encoding = None


class Upload(BaseModel):
    """Pictures, captions and zips."""

    files: Files


class NewUpload(Upload):
    """Pictures, captions and zips for a new data set."""

    name: str = ""
    background: str = ""
    caption_from: str = ""
    image_column: str = ""
    caption_column: str = ""
    encoding: str = ""


class Source(Request):
    """A Hub data set to look into."""

    source: JsonObject | None = None


class Push(Request):
    """Where a data set goes on the Hub, and the token that may write there."""

    repo: str | None = None
    private: bool | None = None
    token: str | None = None


class Skipped(BaseModel):
    """A file that was left out."""

    file: str
    reason: str


class Report(BaseModel):
    """What the last import did; it grows while that is under way. `headline` says what of the words did not arrive,
    `asks` how they would."""

    model_config = ConfigDict(extra="allow")

    seen: int
    used: int
    converted: int
    skipped: list[Skipped]
    notes: list[str]
    error: str | None
    done: int
    total: int
    headline: str | None = None
    asks: list[JsonObject] = []
    encodings: list[object] = []


class Brief(BaseModel):
    """A data set as lists show it; `cover` has the thumbnails of its first pictures, and `last_edit` names what an undo
    takes back."""

    id: str
    name: str
    owner: str
    created: float
    read_only: bool
    state: str
    count: int
    can_undo: bool
    last_edit: str | None
    cover: list[str]


class Dataset(Brief):
    """Pictures with captions; `waiting` files were sent and are not imported yet. `job` is there while an import goes
    on: follow it by asking for the data set again."""

    fingerprint: str
    report: Report
    splits: dict[str, int]
    waiting: int
    can_read_again: bool
    job: str | None = None


class Datasets(BaseModel):
    """The shipped one and one's own."""

    items: list[Brief]
    next: None


class Received(BaseModel):
    """A batch has come: so many files wait for `commit`."""

    id: str
    waiting: int


class ArrivedFile(BaseModel):
    """A file that waits to be imported."""

    name: str
    bytes: int


class Arrived(BaseModel):
    """Files that wait to be imported."""

    items: list[ArrivedFile]
    next: None


class PreviewRow(BaseModel):
    """A row of a table: `thumb` is a data: address; `problem` says why there is none."""

    captions: list[str]
    values: JsonObject
    thumb: str | None
    problem: str | None


class Preview(BaseModel):
    """What a Hub data set holds: its columns with their kinds, and those that are taken for picture and caption."""

    model_config = ConfigDict(extra="allow")

    columns: dict[str, str]
    image: str | None
    caption: str | None
    table: bool
    samples: JsonObject
    total: int
    rows: list[PreviewRow]


class Image(BaseModel):
    """A picture and its captions."""

    id: str
    url: str
    thumb: str
    width: int
    height: int
    captions: list[str]
    split: str | None = None
    name: str | None = None
    crop: list[int] | None = Field(default=None, description="[x, y, side] in pixels: what is trained on.")
    repeats: int | None = None


class Images(BaseModel):
    """A page of pictures; the next one begins at `next`."""

    items: list[Image]
    total: int
    next: int | None


class ImageChange(Request):
    """One caption or several, or the square of the picture that is trained on (null: all of it)."""

    caption: str | None = None
    captions: Texts | None = None
    crop: Numbers | None = Field(default=None, description="[x, y, side] in whole pixels of the picture.")


class ChangedImage(Image):
    """The picture, and the data set that it is in: a copy of the shipped one, if it was changed."""

    dataset: str
