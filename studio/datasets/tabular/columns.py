"""Which columns of a table hold the pictures and the captions: asked for, known, or guessed by name, kind and content.

One rule for every kind of table: CSV, JSON, parquet, a data set of the Hub, an object beside a picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from studio.messages import Message

# Data sets whose columns are not named as a guess would find them (repository: image, caption).
KNOWN = {
    "lambdalabs/pokemon-blip-captions": ("image", "text"),
    "lambdalabs/naruto-blip-captions": ("image", "text"),
    "diffusers/pokemon-gpt4-captions": ("image", "text"),
    "Norod78/cartoon-blip-captions": ("image", "text"),
    "jmhessel/newyorker_caption_contest": ("image", "image_description"),
    "laion/dalle-3-dataset": ("image", "caption"),
    "nlphuji/flickr30k": ("image", "caption"),
    "fantasyfish/laion-art": ("image", "text"),
}
IMAGES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "pixel_values", "image_bytes", "bytes")
FILES = ("file_name", "image", "file", "filename", "img", "picture", "photo", "path", "file_path", "filepath",
         "image_path", "image_file", "image_name", "img_path", "name", "key", "id", "image_id")
CAPTIONS = ("captions", "text", "caption", "prompt", "txt", "description", "image_description", "sentences",
            "sentence", "conversations", "conversation", "messages", "comment", "json.caption", "json.text",
            "json.prompt")
TAGS = ("tags", "tag_string", "tag", "keywords", "labels", "label", "title")
PLAIN = ("captions", "text", "caption", "prompt")
TELLING = frozenset(("caption", "captions", "text", "txt", "prompt", "prompts", "description", "descriptions",
                     "sentence", "sentences"))  # words in a column's name
LOOKED_FOR = "captions, text, caption, prompt, description, tags"  # as it is told; the whole rule is longer
PICTURE, BINARY, TEXT, TEXTS = "picture", "binary", "text", "list of texts"
PICTURES, CODED = "list of pictures", "picture as text"
HOLDS_PICTURES = (PICTURE, BINARY, PICTURES, CODED)
SENTENCE = 3  # words that make a value one
_NO_WORDS = re.compile(r"\w+://\S+|\S+\.\w{2,5}|\S*[\\/]\S*|[0-9a-fA-F-]{8,}|[\d\s.,:/+TZ-]+|data:\S+")


class Unfit(ValueError):
    """Columns that cannot be used; the message is a sentence that lists what there is."""


@dataclass(frozen=True)
class Captions:
    """The columns that captions are taken from, the first that has one before the others; columns of words that are
    left; and whether a person has to say which, since there is no telling."""

    taken: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    unclear: bool = False


def choose(kinds: Mapping[str, str], image: str | None = None, caption: str | None = None, repo: str = "",
           samples: Mapping[str, Sequence[Any]] | None = None) -> tuple[str, str | None]:
    """The image column and the caption column (None: there is none) of a table whose columns have these kinds.

    What was asked for wins; then a known mapping; then the type (pictures before bytes, texts before lists of them);
    among equals a usual name; then, of captions, what `samples` of the values say; then the place. Raises Unfit for a
    name that is not there or is of another kind."""
    known = KNOWN.get(repo, (None, None))
    image = _asked(kinds, image, HOLDS_PICTURES, Message("pictures")) or _there(kinds, known[0]) or _best(
        kinds, IMAGES, HOLDS_PICTURES)
    if image is None:
        raise Unfit(Message("There is no column of pictures among: {columns}. Name one, or choose another data set.",
                            columns=listed(kinds)))
    asked = _asked(kinds, caption, (TEXT, TEXTS), Message("captions")) or _there(kinds, known[1])
    if asked:
        return image, asked
    words = [name for kind in (TEXT, TEXTS) for name, found in kinds.items() if found == kind and name != image]
    if samples is None:
        return image, next(iter(_usual(words)), None) or next(iter(words), None)
    return image, next(iter(captions({name: samples.get(name, ()) for name in words}).taken), None)


def captions(columns: Mapping[str, Sequence[Any]], asked: str | None = None) -> Captions:
    """The columns of captions among {name: some of its values}: the one that was asked for; those of usual names; the
    only one of words, or of sentences."""
    wordy = [name for name, values in columns.items() if is_words(values)]
    if asked is not None and asked in columns:
        return Captions((asked,), tuple(name for name in wordy if name != asked))
    usual = [name for name in _usual(columns) if name in wordy or _is_plain(name) or _is_exact(name) and any(
        isinstance(value, str | list) and value for value in columns[name])]
    if usual:
        plain = tuple(filter(_is_plain, usual))
        taken = plain or tuple(usual[:1])
        return Captions(taken, tuple(name for name in wordy if name not in taken))
    sentences = [name for name in wordy if _is_sentences(columns[name])]
    sure = wordy if len(wordy) == 1 else sentences if len(sentences) == 1 else []
    return Captions(tuple(sure), tuple(name for name in wordy if name not in sure), len(wordy) > len(sure) == 0)


def files(columns: Iterable[str]) -> list[str]:
    """The columns that may name a picture, those of usual names first."""
    names = list(columns)
    usual = [name for want in FILES for name in names if _plain(name) == _plain(want)]
    return [*usual, *(name for name in names if name not in usual)]


def is_file_column(name: str) -> bool:
    """Whether a column is called what columns are that name a picture."""
    return any(_plain(name) == _plain(want) for want in FILES)


def is_words(values: Iterable[Any]) -> bool:
    """Whether most of the values say something: no numbers, addresses, paths, codes or dates."""
    texts = [text for value in values for text in _texts(value) if text.strip()]
    return bool(texts) and sum(_says_something(text) for text in texts) >= 0.6 * len(texts)


def is_tags(name: str) -> bool:
    """Whether a list in this column is one of tags, which make one caption, and not of several captions."""
    return _plain(name.rpartition(".")[2]) in map(_plain, TAGS)


def listed(kinds: Mapping[str, str]) -> str:
    """The columns with their kinds, for a sentence."""
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or Message("none at all")


def _asked(kinds: Mapping[str, str], name: str | None, fit: tuple[str, ...], what: str) -> str | None:
    if not name:
        return None
    if name not in kinds:
        raise Unfit(Message("There is no column {name}; there are: {columns}.", name=repr(name[:100]),
                            columns=listed(kinds)))
    if kinds[name] not in fit:
        raise Unfit(Message("The column {name} holds no {what} ({kind}); there are: {columns}.", name=repr(name[:100]),
                            what=what, kind=kinds[name], columns=listed(kinds)))
    return name


def _there(kinds: Mapping[str, str], name: str | None) -> str | None:
    return name if name in kinds else None


def _best(kinds: Mapping[str, str], usual: tuple[str, ...], fit: tuple[str, ...]) -> str | None:
    """The best column of these kinds: by a usual name, whatever its kind among them, else by kind and place."""
    fitting = [name for kind in fit for name, found in kinds.items() if found == kind]
    pictures = [name for name in fitting if kinds[name] == PICTURE]
    named = [name for want in usual for name in (pictures or fitting) if name.lower() == want]
    return next(iter(named or pictures or fitting), None)


def _usual(names: Iterable[str]) -> list[str]:
    """The columns of usual names, in the order in which they are taken; tags where there is nothing better."""
    there = list(names)
    for group in (CAPTIONS, TAGS):
        exact = [name for want in group for name in there if _plain(name) == _plain(want)]
        telling = [name for name in there if group is CAPTIONS and TELLING & (words := set(_parts(name)))
                   and "negative" not in words]
        if exact or telling:
            return list(dict.fromkeys([*exact, *telling]))
    return []


def _is_plain(name: str) -> bool:
    """Whether a column is called what nobody calls anything else: taken whatever it holds, so that faults are told."""
    return _plain(name) in PLAIN


def _is_exact(name: str) -> bool:
    return any(_plain(name) == _plain(want) for want in (*CAPTIONS, *TAGS))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _parts(name: str) -> list[str]:
    """The words of a name: image_caption, captionEn."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold().replace("_", " ").replace(".", " ").replace(
        "-", " ").split()


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [part for part in value if isinstance(part, str)] if isinstance(value, list | tuple) else []


def _says_something(text: str) -> bool:
    return sum(c.isalpha() for c in text) >= 2 and _NO_WORDS.fullmatch(text.strip()) is None


def _is_sentences(values: Iterable[Any]) -> bool:
    texts = [text for value in values for text in _texts(value) if text.strip()]
    long = sum(len(text.split()) >= SENTENCE or not text.isascii() and len(text) >= 2 * SENTENCE for text in texts)
    return bool(texts) and long >= 0.6 * len(texts)
