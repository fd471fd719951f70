"""Names that mean something to `datasets` and to other trainers: splits, pictures beside pictures, files of settings.

Each is obeyed, or told in the report: none is passed over in silence.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from studio.datasets.imports.sources import Entry
from studio.messages import Message

# What `datasets` takes a folder's or a file's name for.
SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
          "dev": "validation", "test": "test", "testing": "test", "eval": "test", "evaluation": "test"}
BETWEEN = r"[-._ 0-9]"  # what stands between its words there
REPEATS = re.compile(r"(\d{1,3})_")  # kohya's folders: 10_dog counts ten times
# What other trainers keep beside a picture, under its name with one of these words: masks, and pictures that steer.
BESIDE = frozenset(("masklabel", "condlabel", "mask", "masks", "depth", "canny", "openpose", "seg", "segmentation",
                    "control", "cond", "conditioning"))
PERHAPS_BESIDE = frozenset(("alpha", "annotated", "annotation", "before", "dwpose", "edge", "gt", "hed",
                            "hint", "input", "landmark", "lineart", "lowres", "masked", "matte", "mlsd", "normal",
                            "orig", "original", "parsing", "pose", "preview", "ref", "reference", "rejected",
                            "scribble", "segmap", "sketch", "softedge", "source", "thumb", "thumbnail", "trimap"))
ALWAYS_BESIDE = ("masklabel", "condlabel")  # OneTrainer's, which nobody calls a picture
OF_FOLDERS = BESIDE | {"mask_images", "conditioning_images", "control_images", "conditioning_image", "control_image",
                       "conditioning_data", "masklabels", "condlabels", "depths"}
PART = "part of a name"  # where such a word is not the whole of it
# What else people call what they hold out: told, since it may mean something else.
PERHAPS_HELD_OUT = frozenset((
    "holdout", "heldout", "unseen", "evals", "tests", "testset", "valset", "devset", "evalset", "testdata", "valdata",
    "testimages", "valimages", "trainval", "検証", "評価", "テスト", "验证", "测试", "驗證", "測試", "검증", "테스트"))
REGULARISATION = frozenset(("reg", "regs", "reg_data", "regularization_data", "class_data", "regularization",
                            "regularisation", "reg_images", "regularization_images", "regularisation_images",
                            "class_images"))
# Files of other trainers that change how their pictures are learnt from.
SETTINGS = {"multiply.txt": Message("EveryDream counts this folder's pictures so many times by it: name the folder "
                                    "10_name for ten"),
            "cond_dropout.txt": Message("EveryDream's caption dropout: set data.caption_dropout"),
            "flip_p.txt": Message("EveryDream's share of mirrored pictures: set data.random_flip"),
            "shuffle_tags.txt": Message("EveryDream's wish for shuffled tags: there is no such setting here")}
InFolder = dict[tuple[int, str, str], list[Entry]]  # pictures by source, folder and name without its ending
Anywhere = dict[str, list[Entry]]  # by that name alone
CONFIGS = re.compile(r"(dataset|config|.*[-_.](dataset|config))\.(toml|ya?ml)|(global|local)\.ya?ml"
                     r"|dataset_infos?\.json|dataset_dict\.json|multidatabackend.*\.json")
PLACEHOLDER = re.compile(r"\[(?:trigger|name|filewords)\]|\{trigger\}|<trigger>", re.IGNORECASE)


def split_of_folders(key: str) -> str:
    """The split that a path's folders name: train, validation, test; "" where none does."""
    return next(filter(None, map(_split, key.split("/")[:-1])), "")


def split_of_file(name: str) -> str:
    """The split that a table's or an archive's name begins or ends with: train-00000.parquet, metadata_val.jsonl."""
    words = re.split(r"[-._ 0-9]+", PurePosixPath(name).stem.casefold())
    words = [word for word in words if word and word != "of"]
    return next(filter(None, map(SPLITS.get, words[:1] + words[-1:])), "")


def split_of_value(value: object) -> str:
    """The split that a table's row says it is in; "" for a word that is none."""
    return SPLITS.get(value.strip().casefold(), "") if isinstance(value, str) else ""


def unclear_splits(keys: Iterable[str]) -> dict[str, int]:
    """Folders that have the name of a split in theirs but are not called so, and how many pictures they have."""
    counted: Counter[str] = Counter()
    for key in keys:
        unclear = next(filter(_held_out, key.split("/")[:-1]), "")
        if unclear and not split_of_folders(key):
            counted[unclear] += 1
    return dict(counted)


def named_like_splits(keys: Sequence[str]) -> dict[str, int]:
    """How many pictures' own names begin with the name of each split, where at least two splits are named so."""
    counted: Counter[str] = Counter()
    for key in keys:
        split = _first_word(posixpath.basename(key))
        if split and not split_of_folders(key):
            counted[split] += 1
    return dict(counted) if len(counted) > 1 else {}


def beside(pictures: Sequence[Entry]) -> tuple[dict[Entry, str], dict[Entry, str]]:
    """Pictures that other trainers keep beside a picture: {picture: the other's name}, those that are certainly meant
    so, and those that may be."""
    in_folder: InFolder = defaultdict(list)
    anywhere: Anywhere = defaultdict(list)
    for picture in pictures:
        folder, stem = _place(picture)
        in_folder[picture.source, folder, stem].append(picture)
        anywhere[stem].append(picture)
    certain: dict[Entry, str] = {}
    perhaps: dict[Entry, str] = {}
    for picture in pictures:
        partner, word = _partner(picture, in_folder, anywhere)
        if word in ALWAYS_BESIDE or partner is not None and word in OF_FOLDERS:
            certain[picture] = partner.shown if partner else ""
        elif partner is not None and word:
            perhaps[picture] = partner.shown
    return certain, perhaps


def regularisation(keys: Iterable[str]) -> dict[str, int]:
    """Folders that other trainers take for pictures to regularise with, and how many pictures they have."""
    counted: Counter[str] = Counter()
    for key in keys:
        folders = [folder for folder in key.split("/")[:-1] if folder.casefold() in REGULARISATION]
        counted.update(folders[:1])
    return dict(counted)


def setting_of_another(name: str) -> str:
    """What a file of another trainer's settings means there; "" for any other file."""
    base = posixpath.basename(name).casefold()
    if base in SETTINGS:
        return SETTINGS[base]
    if CONFIGS.fullmatch(base):
        return Message("settings of another program, which are not read here")
    return ""


def _split(folder: str) -> str:
    """The split that a folder is called, a number or a year around its name left out: val2017, test_1. What is called
    as kohya's are, 10_name, is a name."""
    if REPEATS.match(folder):
        return ""
    return SPLITS.get(re.sub(rf"^{BETWEEN}+|{BETWEEN}+$", "", folder.casefold()), "")


def _held_out(folder: str) -> bool:
    """Whether a folder's name has that of a split to hold out as one of its words; kohya's 10_name is a name."""
    if REPEATS.match(folder):
        return False
    words = list(filter(None, re.split(rf"{BETWEEN}+", folder.casefold())))
    splits = set(map(SPLITS.get, words)) - {None, "train"}
    return bool(splits) or not PERHAPS_HELD_OUT.isdisjoint((*words, "".join(words)))


def _first_word(name: str) -> str:
    """The split that the first word of a picture's name is."""
    words = re.split(rf"{BETWEEN}+", PurePosixPath(name).stem.casefold())
    return SPLITS.get(words[0], "")


def _place(picture: Entry) -> tuple[str, str]:
    """A picture's folder and its name without its ending."""
    folder, name = posixpath.split(picture.key)
    return folder, PurePosixPath(name).stem.casefold()


def _partner(picture: Entry, in_folder: InFolder, anywhere: Anywhere) -> tuple[Entry | None, str]:
    """The picture beside which this one lies by its name or its folder's, and the word that says so."""
    folder, stem = _place(picture)
    for partner_stem, said in _parted(stem):
        word = _beside_word(said)
        if not word:
            continue
        partners = [other for other in in_folder[picture.source, folder, partner_stem] if other is not picture]
        if partners or said in ALWAYS_BESIDE:
            return next(iter(partners), None), word
    word = _beside_word(posixpath.basename(folder))
    if word:
        for other in anywhere[stem]:
            other_folder = posixpath.dirname(other.key)
            if other_folder != folder and not _beside_word(posixpath.basename(other_folder)):
                return other, word
    return None, ""


def _beside_word(name: str) -> str:
    """The word in a name that says what lies beside a picture; one that is certain only where it is the whole name."""
    plain = name.casefold()
    if plain in OF_FOLDERS | PERHAPS_BESIDE:
        return plain
    words = re.split(rf"{BETWEEN}+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    singular = [word.removesuffix("s") for word in words]
    if (BESIDE | PERHAPS_BESIDE).isdisjoint((*words, *singular)):
        return ""
    return PART


def _parted(stem: str) -> Iterator[tuple[str, str]]:
    """A stem at its last places of - _ or . in two: what the picture is called and what it is, in either order."""
    for place in reversed(list(re.finditer(r"[-_.]", stem))[-3:]):
        before, behind = stem[: place.start()], stem[place.end():]
        if before and behind:
            yield before, behind
            yield behind, before
