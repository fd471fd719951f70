"""The sample data set that ships with the studio: rows read from the assets, never changed, copied to be edited."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from studio import PACKAGE, storage
from studio.datasets.edit_log import Snapshot
from studio.datasets.store import Dataset, picture_path
from studio.datasets.text import captions
from studio.datasets.text.captions import spread
from studio.messages import Message

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

    def record(self) -> dict[str, Any]:
        return {"name": "Sample", "owner": "", "created": 0.0, **(storage.read_json(self.path / "dataset.json") or {})}

    @property
    def state(self) -> str:
        return "ready"

    def commit(self) -> dict[str, Any]:
        count = self.count
        return {"seen": count, "used": count, "converted": 0, "skipped": [], "imports": [SAMPLE],
                "notes": [Message("This data set ships with the studio.")], "error": None}

    def picture(self, pid: str) -> Path:
        return self.path / self.row(pid)["name"]

    def freeze(self) -> list[dict[str, Any]]:
        missing = [row for row in self.snapshot().rows if not picture_path(self.home, row).is_file()]
        if missing:
            self._store(missing)
        return super().freeze()

    def _store(self, rows: list[dict[str, Any]]) -> None:
        """The pictures of these rows in <home>/images, all of them durable."""
        parts: dict[Path, Path] = {}
        try:
            for row in rows:
                target = picture_path(self.home, row)
                storage.make_folder(target.parent)
                parts[target] = storage.part_of(target)
                parts[target].write_bytes((self.path / row["name"]).read_bytes())
            storage.publish_files((part, target) for target, part in parts.items())
        finally:
            storage.clear(*parts.values())

    def suggested_prompts(self) -> list[str]:
        return spread(self.record().get("prompts", [])) or super().suggested_prompts()

    def snapshot(self) -> Snapshot:
        return _read(self.path)


@lru_cache
def _read(folder: Path) -> Snapshot:
    rows = []
    for text in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        path = folder / line["file_name"]
        with Image.open(path) as picture:
            width, height = picture.size
        image = storage.sha256_file(path)
        more = {key: line[key] for key in captions.MORE_KEYS if key in line}
        rows.append({"image": image, "ext": path.suffix[1:], "width": width, "height": height, "pid": image,
                     "captions": [captions.clean(line["text"])[0]], "split": "train", "name": line["file_name"],
                     **more})
    return Snapshot(rows)
