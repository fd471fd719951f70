"""The sample data set that ships with the studio: rows read from the assets, never changed, copied to be edited."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import cast

from PIL import Image

from studio import PACKAGE, storage
from studio.datasets.edit_log import Snapshot
from studio.datasets.schema import ImportReport, Manifest, Row
from studio.datasets.store import Dataset, picture_path
from studio.datasets.text import captions
from studio.datasets.text.captions import spread
from studio.messages import JsonObject, Message

SAMPLE = "sample"
FOLDER = PACKAGE / "assets" / "sample"


class Sample(Dataset):
    """An imagefolder with `metadata.jsonl` whose pictures are stored as they are (clean WebP or JPEG files)."""

    read_only = True

    def __init__(self, home: Path):
        super().__init__(home, SAMPLE)
        self.path = FOLDER

    def available(self) -> bool:
        """Whether the assets are there."""
        return (self.path / "metadata.jsonl").is_file()

    def record(self) -> Manifest:
        record: Manifest = {"name": "Sample", "owner": "", "created": 0.0}
        record.update(storage.read_json(self.path / "dataset.json") or {})
        return record

    @property
    def state(self) -> str:
        return "ready"

    def commit(self) -> ImportReport:
        count = self.count
        return {"seen": count, "used": count, "converted": 0, "skipped": [], "imports": [SAMPLE],
                "notes": [Message("This data set ships with the studio.")], "error": None}

    def picture(self, pid: str) -> Path:
        return self.path / self.row(pid)["name"]

    def freeze(self) -> list[Row]:
        missing = [row for row in self.snapshot().rows if not picture_path(self.home, row).is_file()]
        if missing:
            self._store(missing)
        return super().freeze()

    def _store(self, rows: list[Row]) -> None:
        """The pictures of these rows in <home>/images, all of them durable."""
        targets: dict[Path, Path] = {}  # part -> where it goes
        try:
            for row in rows:
                target = picture_path(self.home, row)
                storage.make_folder(target.parent)
                part = storage.part_of(target)
                targets[part] = target
                part.write_bytes((self.path / row["name"]).read_bytes())
            storage.publish_files(targets.items())
        finally:
            storage.clear(*targets)

    def suggested_prompts(self) -> list[str]:
        return spread(self.record().get("prompts", [])) or super().suggested_prompts()

    def snapshot(self) -> Snapshot:
        return _read(self.path)


@lru_cache
def _read(folder: Path) -> Snapshot:
    rows: list[Row] = []
    for text in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        rows.append(_row(folder, json.loads(text)))
    return Snapshot(rows)


def _row(folder: Path, line: JsonObject) -> Row:
    """The row of a picture of the folder, by its line of metadata.jsonl."""
    name = str(line["file_name"])
    path = folder / name
    with Image.open(path) as picture:
        width, height = picture.size
    image = storage.sha256_file(path)
    caption, _ = captions.clean(str(line["text"]))
    row: Row = {"image": image, "ext": path.suffix[1:], "width": width, "height": height, "pid": image,
                "captions": [caption], "split": "train", "name": name}
    more = {key: line[key] for key in captions.MORE_KEYS if key in line}
    return cast(Row, {**row, **more})
