"""Every kind of bad picture and caption has its verdict, and none of them harms the others: one import of them all."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio import datasets

from . import bad
from .bad import picture, saved
from .conftest import bring_into

GOOD = saved(picture())
JPEG = saved(picture(), "JPEG", quality=95)
INKS = Image.new("CMYK", (80, 80), (255, 0, 0, 135))
GREY16 = Image.new("I;16", (80, 80), 0x8080)
FLOAT = Image.new("F", (80, 80), 0.5)
HIDDEN = Image.new("RGBA", (80, 80), (255, 0, 0, 0))

# name -> (content, verdict, words of the reason)
SKIPPED = {
    "B1-truncated.jpg": (JPEG[: len(JPEG) // 2], "damaged or incomplete"),
    "B2-empty.png": (b"", "the file is empty"),
    "B3-text.jpg": (b"<html>not found</html>", "not a picture"),
    "B5-crc.png": (bad.bad_crc(GOOD), "damaged or incomplete"),
    "B5-pixels.png": (bad.bad_pixels(GOOD), "damaged or incomplete"),
    "B7-30000.png": (bad.png(30000, 30000, rows=b""), "900 MP"),
    "B8-13000.png": (bad.png(13000, 13000), "169 MP"),
    "B9-9400.png": (bad.png(9400, 9400, rows=b""), "88 MP"),
    "B10-60000.png": (bad.png(60000, 60000, rows=b""), "3600 MP"),
    "B12-zero.png": (bad.png(0, 80, rows=b""), "picture"),
    "B13-tiny.png": (saved(picture(size=(1, 1))), "smaller than 64 px"),
    "B13-63.png": (saved(picture(size=(63, 200))), "smaller than 64 px"),
    "B13-thread.png": (bad.png(65500, 1), "smaller than 64 px"),
    "B13-strip.png": (saved(picture(size=(65, 700))), "longer than 10 times"),
    "B27-phone.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 64, "HEIC: convert it"),
    "B29-drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG: save it as PNG"),
    "B30-print.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n", "not a picture"),
    "B30-paper.pdf": (b"%PDF-1.4\n", "not a picture"),
    "B30-icon.ico": (saved(picture(size=(64, 64)), "ICO"), "not a picture"),
    "B30-paint.psd": (b"8BPS\0\1" + bytes(40), "not a picture"),
    "B30-print.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n", "not a picture"),
    "B30-drawing.wmf": (b"\xd7\xcd\xc6\x9a" + bytes(40), "not a picture"),
    "B30-sky.fits": (b"SIMPLE  =                    T" + b" " * 50, "not a picture"),
    "B31-song.mp3": (b"ID3\3", "not a picture (audio file)"),
    "B31-raw.nef": (b"MM\0*" + bytes(40), "raw camera: develop it to JPEG first"),
    "B31-film.mp4": (b"\0\0\0\x18ftypmp42", "not a picture (video file)"),
    "B43-orphan.txt": (b"nobody's caption", "without a picture"),
    "B64/.DS_Store": (b"\0", "system file"),
    "B64/__MACOSX/._a.jpg": (b"\0", "system file"),
    "B64/Thumbs.db": (b"\0", "system file"),
    "B64/desktop.ini": (b"\0", "system file"),
    "B64/@eaDir/a.png": (GOOD, "system file"),
    "text-bomb.png": (bad.png(80, 80, extra=bad.chunk(b"zTXt", b"a\0\0" + zlib.compress(b"0" * (64 << 20)))),
                      "unpacks to more than is read"),
}
TAKEN = {
    "B4-really-a-jpeg.png": (JPEG, "used"),
    "B4-UPPER.JPG": (JPEG, "used"),
    "B14-small.png": (saved(picture(size=(64, 64))), "used"),
    "B15-cmyk.jpg": (saved(picture().convert("CMYK"), "JPEG"), "converted"),
    "B15-cmyk-profile.jpg": (saved(INKS, "JPEG", icc_profile=bad.cmyk_profile()), "converted"),
    "B16-p3.png": (saved(picture(), icc_profile=bad.p3_profile()), "converted"),
    "B16-srgb.png": (saved(picture(), icc_profile=bad.srgb_profile()), "used"),
    "B16-broken-profile.png": (saved(picture(), icc_profile=b"nonsense"), "converted"),
    "B17-grey16.png": (saved(GREY16), "converted"),
    "B17-float.tiff": (saved(FLOAT, "TIFF"), "converted"),
    "B18-rgb16.png": (bad.png(80, 80, bits=16, colour=2, rows=(b"\0" + b"\x80\x80" * 240) * 80), "used"),
    "B20-grey.png": (saved(Image.new("L", (80, 80), 77)), "converted"),
    "B20-grey-alpha.png": (saved(Image.new("LA", (80, 80), (0, 0))), "converted"),
    "B20-one-bit.png": (saved(Image.new("1", (80, 80), 1)), "converted"),
    "B20-palette.png": (saved(picture().quantize(4)), "converted"),
    "B21-hidden.png": (saved(HIDDEN), "converted"),
    "B21-hidden.webp": (saved(HIDDEN, "WEBP", lossless=True, exact=True), "converted"),
    "B21-opaque.png": (saved(picture().convert("RGBA")), "used"),
    "B21-see-through.png": (bad.see_through(), "converted"),
    "B22-animated.gif": (bad.animated("GIF"), "converted"),
    "B22-animated.webp": (bad.animated("WEBP", lossless=True), "converted"),
    "B22-animated.png": (bad.animated("PNG"), "converted"),
    **{f"B24-turned-{n}.png": (bad.oriented(n), "converted") for n in range(2, 9)},
    "B25-garbage-exif.jpg": (JPEG[:2] + b"\xff\xe1\x00\x10Exif\0\0garbage!" + JPEG[2:], None),
    "B26-author.jpg": (saved(picture(), "JPEG", exif=bad.exif(author="Ann Secret")), "converted"),
    "B28-new.avif": (saved(picture(), "AVIF"), "used"),
    "B32-copy-1.png": (saved(picture((1, 2, 3))), "used"),
    "B32-copy-2.png": (saved(picture((1, 2, 3))), "used"),
    "B34/a/same.png": (saved(picture((9, 9, 9))), "used"),
    "B34/b/same.png": (saved(picture((8, 8, 8))), "used"),
    "B36-\u202egnp.exe $(rm) \U0001f600 'x\n.png": (GOOD, "used"),
    f"B36-{'n' * 300}.png": (GOOD, "used"),
    "B36-CON": (GOOD, "used"),
    "-rf.png": (GOOD, "used"),
    "B36-dot.png.": (GOOD, "used"),
}
# name -> (bytes of the caption file, the caption, verdict of the caption file)
CAPTIONS = {
    "B37-latin": ("un café".encode("cp1252"), "un café", "converted"),
    "B37-utf16": ("ein Bär".encode("utf-16"), "ein Bär", "converted"),
    "B38-bom": (b"\xef\xbb\xbfa cat\r\n", "a cat", "used"),
    "B38-control": (b"a\0 \x07cat", "a cat", "converted"),
    "B39-empty": (b"", "", "used"),
    "B40-lines": (b"a cat,\n\n on a mat\n", "a cat, on a mat", "used"),
    "B42-long": (b"x" * 1_000_000, "x" * 10_000, "converted"),
    "B74-flags": (b"--lr 9 {} %s \\n <script>", "--lr 9 {} %s \\n <script>", "used"),
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[datasets.Dataset, dict[str, Any]]:
    """All of it imported at once."""
    folder = tmp_path_factory.mktemp("table-b")
    files: dict[str, Any] = {name: case[0] for name, case in {**SKIPPED, **TAKEN}.items()}
    for number, (name, (text, _, _)) in enumerate(CAPTIONS.items()):
        files[f"{name}.txt"] = text
        files[f"{name}.png"] = saved(picture((number, 100, 200)))
    return bring_into(folder / "home", folder)(files)


def shown(dataset: datasets.Dataset, name: str) -> tuple[dict[str, Any], Image.Image]:
    row = next(row for row in dataset.rows() if row["name"].startswith(name))
    with Image.open(dataset.picture(row["pid"])) as image:
        assert image.mode == "RGB" and image.size == (row["width"], row["height"])
        return row, image.copy()


@pytest.mark.parametrize("name", SKIPPED)
def test_skipped_with_the_reason(everything: Any, name: str) -> None:
    _, report = everything
    reasons = [line["reason"] for line in report["skipped"] if line["file"] == name]
    assert len(reasons) == 1
    assert SKIPPED[name][1] in reasons[0]


@pytest.mark.parametrize("name", TAKEN)
def test_taken(everything: Any, name: str) -> None:
    dataset, report = everything
    row, image = shown(dataset, name.split("\u202e")[0])
    assert image.getextrema() and row["captions"] == [""]
    assert not [line for line in report["skipped"] if line["file"] == row["name"]]
    assert Path(datasets.picture_path(dataset.home, row)).read_bytes().find(b"Secret") < 0


def test_counts_are_those_of_the_table(everything: Any) -> None:
    dataset, report = everything
    verdicts = [case[1] for case in (*TAKEN.values(), *(c[1:] for c in CAPTIONS.values()))]
    converted = verdicts.count("converted")
    assert report["converted"] - converted in (0, verdicts.count(None))
    assert report["seen"] == len(SKIPPED) + len(TAKEN) + 2 * len(CAPTIONS)
    assert len(report["skipped"]) == len(SKIPPED)
    assert dataset.count == len(TAKEN) + len(CAPTIONS) and dataset.state == "ready"


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions(everything: Any, name: str) -> None:
    assert shown(everything[0], name)[0]["captions"] == [CAPTIONS[name][1]]


@pytest.mark.parametrize(("name", "want"), [
    ("B17-grey16", (128, 128, 128)), ("B17-float", (128, 128, 128)), ("B18-rgb16", (128, 128, 128)),
    ("B20-grey", (77, 77, 77)), ("B20-one-bit", (255, 255, 255)), ("B21-hidden.png", (255, 255, 255)),
    ("B21-hidden.webp", (255, 255, 255)), ("B21-opaque", bad.RED), ("B22-animated.gif", (0, 0, 255)),
    ("B22-animated.webp", (0, 0, 255)), ("B22-animated.png", (0, 0, 255)),
    ("B20-grey-alpha", (255, 255, 255)), ("B21-see-through", (255, 255, 255)), ("B15-cmyk-profile", (112, 112, 112)),
    ("B15-cmyk", bad.RED), ("B16-srgb", bad.RED)])
def test_pixels(everything: Any, name: str, want: tuple[int, int, int]) -> None:
    image = shown(everything[0], name)[1]
    found = image.getpixel((image.width - 8, image.height - 8))
    assert all(abs(a - b) <= 3 for a, b in zip(found, want, strict=True)), found


@pytest.mark.parametrize("orientation", range(2, 9))
def test_turned_upright(everything: Any, orientation: int) -> None:
    image = shown(everything[0], f"B24-turned-{orientation}")[1]
    assert image.tobytes() == picture().tobytes()


def test_wide_colours_come_into_srgb(everything: Any) -> None:
    """Display P3 (200, 30, 60) is a redder red in sRGB."""
    red, green, _ = shown(everything[0], "B16-p3")[1].getpixel((90, 70))
    assert red > 205 and green < 25


def test_clean_jpegs_keep_their_pixels_and_lose_their_metadata(everything: Any) -> None:
    row, image = shown(everything[0], "B26-author")
    assert row["ext"] == "jpg"
    with Image.open(io.BytesIO(TAKEN["B26-author.jpg"][0])) as original:
        assert image.tobytes() == original.tobytes()


def test_names_are_safe_to_show(everything: Any) -> None:
    name = shown(everything[0], "B36-\\u202e")[0]["name"]
    assert "\u202e" not in name and "\n" not in name and "\\u000a" in name


def test_copies_are_rows_of_their_own(everything: Any) -> None:
    dataset, report = everything
    first, second = (row for row in dataset.rows() if row["name"].startswith("B32"))
    assert second["image"] == first["image"] and first["pid"] == first["image"] and second["pid"] != first["pid"]
    assert any("exactly like" in note for note in report["notes"])


def test_what_is_odd_is_said(everything: Any) -> None:
    notes = "\n".join(everything[1]["notes"])
    for words in ("without a caption", "Windows-1252", "cut at 10,000", "16-bit grey", "laid on white", "first frame",
                  "system files ignored", "CMYK without"):
        assert words in notes
    assert json.dumps(everything[1])
