"""Which column of a table is the caption, and which the picture: as asked for, or else by its name and its values.

Where several could be the caption, `caption_columns` says which wins. One rule for every kind of table: CSV, JSON,
parquet, a data set of the Hub, an object beside a picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from studio.errors import StudioError
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
IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "pixel_values", "image_bytes", "bytes")
FILE_NAMES = ("file_name", "image", "file", "filename", "img", "picture", "photo", "path", "file_path", "filepath",
              "image_path", "image_file", "image_name", "img_path", "name", "key", "id", "image_id")
# The caption is the first of these that a table has; of CERTAIN_NAMES the others fill in where it is empty.
CAPTION_NAMES = ("captions", "text", "caption", "prompt", "txt", "description", "image_description", "sentences",
                 "sentence", "conversations", "conversation", "messages", "comment", "json.caption", "json.text",
                 "json.prompt")
TAG_NAMES = ("tags", "tag_string", "tag", "keywords", "labels", "label", "title")
CERTAIN_NAMES = ("captions", "text", "caption", "prompt")
CAPTION_WORDS = frozenset(("caption", "captions", "text", "txt", "prompt", "prompts", "description", "descriptions",
                           "sentence", "sentences"))  # words in a column's name
LOOKED_FOR = "captions, text, caption, prompt, description, tags"  # as it is told; the whole rule is longer
PICTURE, BINARY, TEXT, TEXTS = "picture", "binary", "text", "list of texts"
PICTURES, CODED = "list of pictures", "picture as text"
HOLDS_PICTURES = (PICTURE, BINARY, PICTURES, CODED)
SENTENCE = 3  # words that make a value one
_NO_WORDS = re.compile(r"\w+://\S+|\S+\.\w{2,5}|\S*[\\/]\S*|[0-9a-fA-F-]{8,}|[\d\s.,:/+TZ-]+|data:\S+")


class InvalidColumns(StudioError):
    """Columns that cannot be used; the message is a sentence that lists what there is."""


@dataclass(frozen=True)
class CaptionColumns:
    """The columns that captions are taken from, of each row the first that has one; columns of words that are left; and
    whether a person has to say which, since there is no telling."""

    taken: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    unclear: bool = False


def image_and_caption_columns(kinds: Mapping[str, str], image: str | None = None, caption: str | None = None,
                              repo: str = "", samples: Mapping[str, Sequence[object]] | None = None
                              ) -> tuple[str, str | None]:
    """The image column and the caption column (None: there is none) of a table whose columns have these kinds.

    What was asked for wins; then a known mapping; then the type (pictures before bytes, texts before lists of them);
    among equals a usual name; then, of captions, what `samples` of the values say; then the place.
    Raises InvalidColumns for a name that is not there or is of another kind."""
    known_image, known_caption = KNOWN.get(repo, (None, None))
    image = (_asked(kinds, image, HOLDS_PICTURES, Message("pictures")) or _if_present(kinds, known_image)
             or _best(kinds, IMAGE_NAMES, HOLDS_PICTURES))
    if image is None:
        raise InvalidColumns(Message("There is no column of pictures among: {columns}. Name one, or choose another "
                                     "data set.", columns=described(kinds)))
    caption = _asked(kinds, caption, (TEXT, TEXTS), Message("captions")) or _if_present(kinds, known_caption)
    if caption:
        return image, caption
    words = [name for name in _of_kinds(kinds, (TEXT, TEXTS)) if name != image]
    if samples is None:
        return image, next(iter([*_named_like_captions(words), *words]), None)
    return image, next(iter(caption_columns({name: samples.get(name, ()) for name in words}).taken), None)


def caption_columns(columns: Mapping[str, Sequence[object]], asked: str | None = None) -> CaptionColumns:
    """The columns that are captions among {name: some of its values}. The first rule that fits decides:

    1. the one that was asked for
    2. those of CERTAIN_NAMES, in that order: of each row the first that is not empty
    3. the first of CAPTION_NAMES, or with one of CAPTION_WORDS in its name; where there is none, of TAG_NAMES
    4. the only one of words
    5. of several, the only one of sentences; else it is unclear, and a person is asked
    """
    wordy = [name for name, values in columns.items() if is_words(values)]
    if asked is not None and asked in columns:
        return _chosen([asked], wordy)
    usual = [name for name in _named_like_captions(columns) if name in wordy or _counts_by_name(name, columns[name])]
    if usual:
        certain = list(filter(_has_certain_name, usual))
        return _chosen(certain or usual[:1], wordy)
    if len(wordy) == 1:
        return CaptionColumns(tuple(wordy))
    return _by_length(columns, wordy)


def _by_length(columns: Mapping[str, Sequence[object]], wordy: Sequence[str]) -> CaptionColumns:
    """Of several columns of words the only one of sentences; where none or more are, it is unclear."""
    sentences = [name for name in wordy if _is_sentences(columns[name])]
    if len(sentences) == 1:
        return _chosen(sentences, wordy)
    return CaptionColumns(left=tuple(wordy), unclear=bool(wordy))


def _chosen(taken: Sequence[str], wordy: Sequence[str]) -> CaptionColumns:
    return CaptionColumns(tuple(taken), tuple(name for name in wordy if name not in taken))


def _counts_by_name(name: str, values: Sequence[object]) -> bool:
    """Whether a column is one of captions by its name, even where most of its values do not look like words."""
    if _has_certain_name(name):
        return True
    return _has_known_name(name) and any(isinstance(value, str | list) and value for value in values)


def file_name_columns(columns: Iterable[str]) -> list[str]:
    """The columns that may name a picture, those of usual names first."""
    names = list(columns)
    return list(dict.fromkeys([*_by_names(names, FILE_NAMES), *names]))


def is_file_column(name: str) -> bool:
    """Whether a column is called what columns are that name a picture."""
    return _normalized(name) in map(_normalized, FILE_NAMES)


def is_words(values: Iterable[object]) -> bool:
    """Whether most of the values say something: no numbers, addresses, paths, codes or dates."""
    texts = list(_texts(values))
    return bool(texts) and sum(map(_says_something, texts)) >= 0.6 * len(texts)


def is_tags(name: str) -> bool:
    """Whether a list in this column is one of tags, which make one caption, and not of several captions."""
    return _normalized(name.rpartition(".")[2]) in map(_normalized, TAG_NAMES)


def described(kinds: Mapping[str, str]) -> str:
    """The columns with their kinds, for a sentence."""
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or Message("none at all")


def _asked(kinds: Mapping[str, str], name: str | None, fit: tuple[str, ...], what: str) -> str | None:
    if not name:
        return None
    if name not in kinds:
        raise InvalidColumns(Message("There is no column {name}; there are: {columns}.", name=repr(name[:100]),
                                     columns=described(kinds)))
    if kinds[name] not in fit:
        raise InvalidColumns(Message("The column {name} holds no {what} ({kind}); there are: {columns}.",
                                     name=repr(name[:100]), what=what, kind=kinds[name], columns=described(kinds)))
    return name


def _if_present(kinds: Mapping[str, str], name: str | None) -> str | None:
    return name if name in kinds else None


def _of_kinds(kinds: Mapping[str, str], order: tuple[str, ...]) -> list[str]:
    """The columns of these kinds, those of the first kind before the others."""
    fitting = [name for name, kind in kinds.items() if kind in order]
    return sorted(fitting, key=lambda name: order.index(kinds[name]))


def _best(kinds: Mapping[str, str], usual: tuple[str, ...], fit: tuple[str, ...]) -> str | None:
    """The best column of these kinds: by a usual name, whatever its kind among them, else by kind and place."""
    candidates = _of_kinds(kinds, (PICTURE,)) or _of_kinds(kinds, fit)
    for usual_name in usual:
        for name in candidates:
            if name.lower() == usual_name:
                return name
    return next(iter(candidates), None)


def _named_like_captions(names: Iterable[str]) -> list[str]:
    """The columns of usual names, in the order in which they are taken; tags where there is nothing better."""
    columns = list(names)
    named = dict.fromkeys([*_by_names(columns, CAPTION_NAMES), *filter(_has_caption_word, columns)])
    return list(named or dict.fromkeys(_by_names(columns, TAG_NAMES)))


def _by_names(columns: Sequence[str], names: Iterable[str]) -> Iterator[str]:
    """The columns of these names, whatever their case and signs, in the order of the names."""
    for name in names:
        for column in columns:
            if _normalized(column) == _normalized(name):
                yield column


def _has_caption_word(name: str) -> bool:
    """Whether a word in a column's name says that it holds captions, and none that they are negative prompts."""
    words = _words_of_name(name)
    return not CAPTION_WORDS.isdisjoint(words) and "negative" not in words


def _has_certain_name(name: str) -> bool:
    """Whether a column is called what nobody calls anything else: taken whatever it holds, so that faults are told."""
    return _normalized(name) in CERTAIN_NAMES


def _has_known_name(name: str) -> bool:
    return _normalized(name) in map(_normalized, (*CAPTION_NAMES, *TAG_NAMES))


def _normalized(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _words_of_name(name: str) -> list[str]:
    """The words of a name: image_caption, captionEn."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold().replace("_", " ").replace(".", " ").replace(
        "-", " ").split()


def _texts(values: Iterable[object]) -> Iterator[str]:
    """The texts among the values, and in lists among them, that are not empty."""
    for value in values:
        parts = value if isinstance(value, list | tuple) else [value]
        for part in parts:
            if isinstance(part, str) and part.strip():
                yield part


def _says_something(text: str) -> bool:
    return sum(map(str.isalpha, text)) >= 2 and _NO_WORDS.fullmatch(text.strip()) is None


def _is_sentences(values: Iterable[object]) -> bool:
    """Whether most of the values are as long as a sentence."""
    texts = list(_texts(values))
    return bool(texts) and sum(map(_is_long, texts)) >= 0.6 * len(texts)


def _is_long(text: str) -> bool:
    if len(text.split()) >= SENTENCE:
        return True
    return not text.isascii() and len(text) >= 2 * SENTENCE  # Chinese and Japanese have no spaces
