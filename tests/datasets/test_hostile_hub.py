"""Data sets of the Hub whose rows name files elsewhere: nothing outside the repository at its commit is opened, and the
answer does not tell what is there."""

from __future__ import annotations

import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from studio import datasets
from studio.datasets.imports import hubsource
from studio.datasets.imports.hubsource import HubSource

from ..fakes.hub import READER, Hub
from .bad import picture, saved


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as hub:
        for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET"):
            monkeypatch.setenv(name, hub.environment(tmp_path)[name])
        yield hub


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A server of this machine that strangers are not to reach, and what reached it."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        def hear() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                heard.append(line.recv(1000))
                line.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + saved(picture((1, 2, 3))))
                line.close()
        threading.Thread(target=hear, daemon=True).start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)


def rows_of(folder: Path, paths: list[str]) -> None:
    """A data set of one parquet file whose pictures are these paths, after an honest one."""
    import datasets as library

    folder.mkdir()
    rows = {"image": [{"bytes": saved(picture((9, 9, 9))), "path": None}, *({"bytes": None, "path": p} for p in paths)],
            "text": [str(number) for number in range(len(paths) + 1)]}
    features = library.Features({"image": {"bytes": library.Value("binary"), "path": library.Value("string")},
                                 "text": library.Value("string")})
    library.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")


def test_a_row_opens_its_own_repository_at_its_own_commit_alone(
        hub: Hub, home: Path, tmp_path: Path, listener: tuple[int, list[bytes]]) -> None:
    port, heard = listener
    secret = home / "images" / "ab" / f"{'ab' * 32}.png"
    secret.parent.mkdir(parents=True)
    secret.write_bytes(saved(picture((200, 0, 0))))
    for name, folder in (("alice/private", "private"), ("evil/ds", "old"), ("evil/ds2", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(saved(picture((0, 200, 0))))
        hub.add(f"datasets/{name}", tmp_path / folder, private=folder == "private")
    old = hub.repos["datasets/evil/ds"].commit("main")
    hub.repos.pop("datasets/evil/ds")
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as made:
        made.writestr("a.png", saved(picture((0, 0, 200))))
    folder = tmp_path / "evil"
    repo = hub.add("datasets/evil/ds", folder)
    repo.revisions["old"] = tmp_path / "old"
    sha = repo.commit("main")
    own = f"hf://datasets/evil/ds@{sha}"
    paths = [
        f"{secret}::{own}/x", f"file://{secret}::{own}/x", f"local://{secret}::{own}/x", str(secret),
        f"file://{secret}", f"{tmp_path}/nothing::{own}/x", "/etc/passwd", "~/.ssh/id_rsa",
        f"http://127.0.0.1:{port}/x", f"http://127.0.0.1:{port}/x::{own}/x", f"https://127.0.0.1:{port}/x::{own}/x",
        f"{own}/x::http://127.0.0.1:{port}/x", f"zip://x.png::{secret}", f"zip://{secret}::zip://x::{own}/x",
        f"zip://a::http://127.0.0.1:{port}/x", f"filecache://::file://{secret}::{own}/x",
        f"simplecache::http://127.0.0.1:{port}/x::{own}/x", "hf://datasets/alice/private@main/x.png",
        "hf://datasets/evil/ds2@main/x.png", f"hf://datasets/evil/ds@{old}/x.png", "hf://datasets/evil/ds@old/x.png",
        f"{own}/../../alice/private@main/x.png", f"{own}/..%2f..%2fds2@main/x.png", f"{own}x/../x.png",
        f"hf://datasets/evil/ds@{sha}\\..\\x.png", f"hf://evil/ds@{sha}/x.png", "train.parquet",
        f"{own}//etc/passwd", f"{own}/", own, "", "\0", f"ftp://127.0.0.1:{port}/x", f"ssh://127.0.0.1:{port}/x",
    ]
    rows_of(folder, paths)
    seen = hubsource.preview(home, HubSource("evil/ds"), READER)
    assert seen["rows"][0]["thumb"] and not any(row["thumb"] for row in seen["rows"][1:])
    dataset = datasets.begin(home, "evil", "bob")
    report = datasets.add_hub(dataset, HubSource("evil/ds"), READER)
    assert report["used"] + report["converted"] == 1 == dataset.count, report
    assert len(report["skipped"]) == len(paths) and not heard
    reasons = {line["reason"] for line in report["skipped"]}
    assert not any(str(home) in reason or "passwd" in reason for reason in reasons)
    there, missing = (next(line["reason"] for line in report["skipped"] if line["file"].startswith(f"train/{at:06d}"))
                      for at in (2, 7))
    assert there == missing == "the row names a file outside its data set", "which of the two is there is not told"


def test_a_picture_in_a_zip_of_its_own_repository_is_read(hub: Hub, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zipped"
    folder.mkdir()
    with zipfile.ZipFile(folder / "train.zip", "w") as made:
        for number in range(3):
            made.writestr(f"train/{number}.png", saved(picture((number * 50, 9, 9))))
        lines = [json.dumps({"file_name": f"train/{number}.png", "text": f"words {number}"}) for number in range(3)]
        made.writestr("metadata.jsonl", "\n".join(lines))
    hub.add("datasets/ann/zipped", folder)
    dataset = datasets.begin(home, "zipped", "ann")
    report = datasets.add_hub(dataset, HubSource("ann/zipped"), None)
    assert dataset.count == 3, report
    assert {row["captions"][0] for row in dataset.rows()} == {"words 0", "words 1", "words 2"}


@pytest.mark.parametrize("files", ["/etc/passwd", "hf://datasets/alice/private@main/x.parquet", "../other/*.parquet",
                                   "http://127.0.0.1:1/x.parquet", "file:///etc/passwd"])
def test_a_card_that_points_elsewhere(hub: Hub, home: Path, tmp_path: Path, files: str) -> None:
    folder = tmp_path / "card"
    rows_of(folder, [])
    card = {"configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}]}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    hub.add("datasets/evil/card", folder)
    (tmp_path / "private").mkdir()
    hub.add("datasets/alice/private", tmp_path / "private", private=True)
    dataset = datasets.begin(home, "evil", "bob")
    report = datasets.add_hub(dataset, HubSource("evil/card"), READER)
    assert report["error"] and dataset.count == 0 and "root:" not in json.dumps(report)


def test_rows_without_end_cost_their_own_process(hub: Hub, home: Path, tmp_path: Path) -> None:
    """A zip of a million names, a row of a gigabyte of zeros: told, and the others are read."""
    folder = tmp_path / "many"
    big = io.BytesIO()
    with zipfile.ZipFile(big, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("zeros.png", bytes(200 << 20))
    folder.mkdir()
    (folder / "big.zip").write_bytes(big.getvalue())
    sha = hub.add("datasets/evil/many", folder).commit("main")
    folder.rename(tmp_path / "kept")
    rows_of(folder, [f"zip://zeros.png::hf://datasets/evil/many@{sha}/big.zip"])
    (tmp_path / "kept" / "big.zip").rename(folder / "big.zip")
    dataset = datasets.begin(home, "many", "bob")
    report = datasets.add_hub(dataset, HubSource("evil/many", data_files=("train.parquet",)), None)
    assert dataset.count == 1 and "larger than" in report["skipped"][0]["reason"], report
