"""Builds the sample data set in studio/assets/sample; run `python tools/build_sample.py [--sheet sheet.png]`."""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from base_data import HELD_OUT
from PIL import Image

PACKAGE = "@lobehub/fluent-emoji-3d"
VERSION = "1.1.0"
SIZE = 128
# A constant ending, in the shape of the base model's own captions ("label, tag"): the words of the thing stay where
# the text encoder expects them, and the ending alone carries the new style.
STYLE = "3d render"
# How often a pass takes what the base has never drawn: shown as often as the rest, it is learnt too late to be seen.
REPEATS = 3
DEFAULT_OUT = Path(__file__).resolve().parents[1] / "studio" / "assets" / "sample"

# Code point of the emoji and the words for it, after the labels of emojibase-data where these are plain English.
FACES = """
1f600 a grinning face
1f602 a face with tears of joy
1f609 a winking face
1f60d a smiling face with heart eyes
1f61c a winking face with its tongue out
1f914 a thinking face
1f634 a sleeping face
1f975 a hot red face
1f976 a cold blue face
1f920 a face with a cowboy hat
1f973 a partying face
1f60e a smiling face with sunglasses
1f913 a nerd face with glasses
1f62d a loudly crying face
1f621 an angry red face
1f608 a purple smiling face with horns
1f480 a skull
1f921 a clown face
1f47b a ghost
1f47d an alien
1f916 a robot
1f63b a cat with heart eyes
"""
ANIMALS = """
1f98a a fox
1f981 a lion
1f42f a tiger face
1f984 a unicorn
1f42e a cow face
1f437 a pig face
1f418 an elephant
1f430 a rabbit face
1f994 a hedgehog
1f428 a koala
1f43c a panda
1f414 a chicken
1f424 a yellow baby chick
1f427 a penguin
1f989 an owl
1f9a9 a pink flamingo
1f99c a parrot
1f438 a green frog
1f422 a turtle
1f433 a whale spouting water
1f420 a tropical fish
1f988 a shark
1f419 an octopus
1fabc a jellyfish
1f980 a red crab
1f40c a snail
1f98b a butterfly
1f41d a honeybee
1f41e a ladybug
"""
PLANTS_AND_SKY = """
1f339 a red rose
1f33b a sunflower
1f337 a tulip
1f335 a cactus
1f332 an evergreen tree
1f334 a palm tree
1f344 a mushroom
1f340 a four leaf clover
1f319 a crescent moon
1f31e a sun with a face
2b50 a yellow star
1f308 a rainbow
1f525 a burning flame
2603 a snowman
26a1 a lightning bolt
1fa90 a planet with a ring
"""
FOOD = """
1f347 a bunch of grapes
1f349 a slice of watermelon
1f34b a lemon
1f34c a banana
1f34d a pineapple
1f34e a red apple
1f353 a strawberry
1f352 a pair of cherries
1f951 an avocado
1f955 a carrot
1f33d an ear of corn
1f966 a head of broccoli
1f950 a croissant
1f968 a pretzel
1f9c0 a wedge of cheese
1f354 a hamburger
1f355 a slice of pizza
1f32e a taco
1f363 two pieces of sushi
1f366 a soft ice cream
1f369 a doughnut
1f382 a birthday cake
1f9c1 a cupcake
1f36d a lollipop
2615 a cup of coffee
1fad6 a teapot
"""
THINGS = """
1f3e0 a house
1f3f0 a castle
1f682 a locomotive
1f68c a bus
1f697 a red car
1f6b2 a bicycle
1f6fc a roller skate
26f5 a sailboat
1f680 a rocket
1f6f8 a flying saucer
23f0 an alarm clock
2764 a red heart
1f381 a wrapped gift
1f388 a red balloon
1f3c6 a golden trophy
26bd a soccer ball
1f3c0 a basketball
1f52e a crystal ball
1faa9 a disco ball
1f9f8 a teddy bear
1f3a8 an artist palette
1f451 a golden crown
1f452 a hat with a ribbon
1f48e a blue gem
1f514 a bell
1f3b8 a guitar
1f3b7 a saxophone
1f4f7 a camera
1f4a1 a light bulb
1f4da a stack of books
1f511 a key
1f528 a hammer
1f9f0 a toolbox
"""

PEOPLE_CLOTHES_AND_SIGNS = """
1f478 a princess
1f9d9 a wizard
1f385 Santa Claus
1f477 a construction worker
1f467 a girl
1f44d a thumbs up
270b a raised hand
1f44f two clapping hands
1f455 a green shirt
1f457 a dress
1f45f a running shoe
1f550 a clock that shows one
23f1 a stopwatch
26d4 a no entry sign
2705 a green button with a check mark
2b07 a blue sign with a down arrow
2648 a ram's horns on a purple sign
1f537 a blue diamond
"""

CREDITS = """# Sample data set: things in the Fluent 3D style

{count} pictures of {size}x{size} pixels, each with a caption, as an image folder: `metadata.jsonl` names the pictures
(`file_name`) and holds their captions (`text`). Every caption ends with "{style}": after a fine-tune, that ending
asks for the style. Ten things that the embedded base has never drawn are taken {repeats} times in each pass over the
data (`repeats`). Built by `python tools/build_sample.py`.

* Pictures: Fluent Emoji (3D) by Microsoft, MIT licence, as packed by LobeHub in the npm package
  [`{package}`](https://www.npmjs.com/package/{package}) {version} (MIT licence, Copyright (c) 2023 LobeHub);
  composed on white, scaled to {size} pixels and saved as WebP.
* Captions: written after the labels of the npm package
  [`emojibase-data`](https://www.npmjs.com/package/emojibase-data) (MIT licence, Copyright (c) 2017-2019 Miles Johnson).
"""


def entries() -> list[tuple[str, str]]:
    """The code point and words of every picture, in the order of the data set."""
    lines = (FACES + ANIMALS + PLANTS_AND_SKY + FOOD + THINGS + PEOPLE_CLOTHES_AND_SIGNS).split("\n")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line]


def fetch(cache: Path) -> Path:
    """The package's archive in the cache, asked from npm where it is not there yet."""
    archive = cache / f"lobehub-fluent-emoji-3d-{VERSION}.tgz"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=cache, check=True, stdout=subprocess.DEVNULL
        )
    return archive


def compose(data: bytes) -> Image.Image:
    """One picture on white at the data set's size."""
    drawn = Image.open(io.BytesIO(data)).convert("RGBA")
    white = Image.new("RGBA", drawn.size, "white")
    white.alpha_composite(drawn)
    return white.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def build(archive: Path, out: Path, quality: int) -> list[Image.Image]:
    """Writes pictures, captions and credits; answers with the pictures as the folder holds them."""
    images = out / "images"
    if images.exists():
        shutil.rmtree(images)
    images.mkdir(parents=True)
    pictures, lines = [], []
    with tarfile.open(archive) as package:
        for number, (code, words) in enumerate(entries(), start=1):
            member = package.extractfile(f"package/assets/{asset_name(package, code)}")
            assert member is not None, code
            slug = re.sub(r"^(a|an)-", "", re.sub(r"[^a-z0-9]+", "-", words.lower()))
            path = images / f"{number:03d}-{slug}.webp"
            compose(member.read()).save(path, quality=quality, method=6)
            pictures.append(Image.open(path).convert("RGB"))
            line: dict[str, str | int] = {"file_name": f"images/{path.name}", "text": f"{words}, {STYLE}"}
            if code in HELD_OUT:
                line["repeats"] = REPEATS
            lines.append(json.dumps(line))
    (out / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    credit = CREDITS.format(count=len(lines), size=SIZE, style=STYLE, repeats=REPEATS, package=PACKAGE, version=VERSION)
    (out / "README.md").write_text(credit, encoding="utf-8")
    return pictures


def asset_name(package: tarfile.TarFile, code: str) -> str:
    """The file of a code point: some carry the variation selector fe0f in their name."""
    names = set(package.getnames())
    return next(name for name in (f"{code}.webp", f"{code}-fe0f.webp") if f"package/assets/{name}" in names)


def contact_sheet(pictures: list[Image.Image], columns: int = 14) -> Image.Image:
    """All pictures side by side, to look at."""
    sheet = Image.new("RGB", (columns * SIZE, -(-len(pictures) // columns) * SIZE), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (index % columns * SIZE, index // columns * SIZE))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "studio-build", help="npm archives")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--quality", type=int, default=94, help="WebP quality")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet here")
    arguments = parser.parse_args()
    pictures = build(fetch(arguments.cache), arguments.out, arguments.quality)
    if arguments.sheet:
        contact_sheet(pictures).save(arguments.sheet)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{len(pictures)} pictures in {arguments.out}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
