"""Which encoding a text is in: recognised by its marks, else by how likely its words are in the languages people write.

Nothing is decoded by guess in silence: whoever asks gets the encoding's name, whether it is sure, and what the same
bytes say in others.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from studio.datasets.text import letters

# The encodings that are told apart and can be asked for: Python's codec, the name that people know, its languages.
_WESTERN, _CENTRAL = tuple(letters.WESTERN), (*letters.CENTRAL, "de")
KNOWN: dict[str, tuple[str, Sequence[str]]] = {
    "utf-8": ("UTF-8", letters.LANGUAGES), "utf-16-le": ("UTF-16", letters.LANGUAGES),
    "utf-16-be": ("UTF-16 BE", letters.LANGUAGES), "cp932": ("Shift-JIS", ("ja",)), "euc_jp": ("EUC-JP", ("ja",)),
    "iso2022_jp": ("ISO-2022-JP", ("ja",)), "gb18030": ("GBK", ("zh",)), "big5hkscs": ("Big5", ("tw",)),
    "cp949": ("EUC-KR", ("ko",)), "cp1252": ("Windows-1252", _WESTERN), "cp1250": ("Windows-1250", _CENTRAL),
    "cp1251": ("Windows-1251", ("cyrillic",)), "koi8_u": ("KOI8-U", ("cyrillic",)), "cp866": ("DOS 866", ("cyrillic",)),
    "mac_cyrillic": ("Mac Cyrillic", ("cyrillic",)), "cp1253": ("Windows-1253", ("greek",)),
    "cp1254": ("Windows-1254", ("tr",)), "cp1255": ("Windows-1255", ("hebrew",)),
    "cp1256": ("Windows-1256", ("arabic",)), "cp1257": ("Windows-1257", ("baltic",)),
    "cp1258": ("Windows-1258", ("vi",)), "cp874": ("Windows-874", ("thai",)),
    "mac_roman": ("Mac Roman", _WESTERN), "cp850": ("DOS 850", _WESTERN), "iso8859_2": ("ISO-8859-2", _CENTRAL)}
ALIASES = {"utf8": "utf-8", "utf-16": "utf-16-le", "utf16": "utf-16-le", "gbk": "gb18030", "gb2312": "gb18030",
           "gb-18030": "gb18030", "cp936": "gb18030", "big5": "big5hkscs", "cp950": "big5hkscs", "sjis": "cp932",
           "shift-jis": "cp932", "shiftjis": "cp932", "euckr": "cp949", "uhc": "cp949", "eucjp": "euc_jp",
           "koi8-r": "koi8_u", "koi8": "koi8_u", "latin-1": "cp1252", "latin1": "cp1252", "iso-8859-1": "cp1252",
           "ansi": "cp1252", "macroman": "mac_roman", "latin-2": "iso8859_2", "iso-8859-2": "iso8859_2"}
_BY_NAME = dict(zip(KNOWN, KNOWN, strict=True)) | {name.lower(): codec for codec, (name, _) in KNOWN.items()} | ALIASES
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
         codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # the longer before its own beginning
NOT_STRANGE = bytes([*range(0x20, 0x100), *b"\r\n\t\f"])  # bytes that a text may have
ESCAPE = b"\x1b$"  # how ISO-2022-JP leaves ASCII
SAMPLE = 1 << 12  # bytes that are looked at
APART = 3.0  # by how much the logarithm of the likelihood must be greater than the next reading's to be sure
COMMONER = {"cp1252": 1.5, "utf-8": 1.0, "cp1250": 0.5, "cp1257": -1.5, "cp1258": -2.0, "mac_roman": -0.5,
            "cp850": -0.7,
            "mac_cyrillic": -1.0, "iso8859_2": -0.2, "cp866": -0.5}  # added to it: which ones more people have
FAR = 10.0  # by how much where a text is UTF-8, and may be so by chance
MOST_BY_CHANCE = 16  # letters beyond ASCII
GUESSES = 6  # other readings that are told
ENOUGH = 200  # files after which only encodings are tried that some of them were in


@dataclass(frozen=True)
class Decoded:
    """A text, the codec it was read with, whether that is sure, and whether parts of it could not be read."""

    text: str
    codec: str = "utf-8"
    sure: bool = True
    damaged: bool = False

    @property
    def name(self) -> str:
        """The encoding as people know it."""
        return name_of(self.codec)


def name_of(codec: str) -> str:
    """An encoding as people know it."""
    return KNOWN[codec][0] if codec in KNOWN else codec.upper()


def codec_of(name: str) -> str | None:
    """The codec that a person means by the name of an encoding; None for one that is not known here."""
    plain = name.strip().lower()
    spellings = (plain, plain.replace("-", "_"), plain.replace("_", "-"), plain.replace("windows-", "cp"))
    return next(filter(None, map(_BY_NAME.get, spellings)), None)


def decode(data: bytes, codec: str | None = None) -> Decoded:
    """The text in `data`: by its byte order mark, by `codec` where one is asked for, else as it is recognised."""
    for mark, marked in MARKS.items():
        if data.startswith(mark):
            return _lenient(data[len(mark):], marked)
    if codec:
        return _lenient(data, codec)
    return _plain(data) or _recognised(data, readings(data))


class TextDecoder:
    """Decodes the files of one import, which are mostly in one encoding: a file that alone is not sure of its own is
    read like most of those that are."""

    def __init__(self, codec: str | None = None):
        self.codec = codec
        self._sure: Counter[str] = Counter()
        self._seen = 0

    def decode(self, data: bytes) -> Decoded:
        """The text in a file; call `learn` with every file first."""
        if self.codec or data.startswith(tuple(MARKS)):
            return decode(data, self.codec)
        usual = self._sure.most_common(1)[0][0] if self._sure else ""
        plain = _plain(data)
        if plain is not None and data and usual.startswith("utf-16"):
            candidates = readings(data, ["utf-8", usual])
            return candidates[0][1] if candidates else plain
        if plain is not None:
            return plain
        candidates = self._readings(data)
        first = _recognised(data, candidates)
        if first.sure:
            return first
        return next((reading for _, reading in candidates if reading.codec == usual), first)

    def learn(self, data: bytes) -> None:
        """Note which encoding a file is in, where that is sure."""
        if self.codec or data.startswith(tuple(MARKS)) or _plain(data):
            return
        first = _recognised(data, self._readings(data))
        self._seen += 1
        if first.sure and not first.damaged:
            self._sure[first.codec] += 1

    def _readings(self, data: bytes) -> list[tuple[float, Decoded]]:
        return readings(data, [*self._sure] if self._seen > ENOUGH and self._sure else KNOWN)


def readings(data: bytes, among: Sequence[str] | Mapping[str, object] = KNOWN) -> list[tuple[float, Decoded]]:
    """What the bytes say in every encoding in which they are a text, the likeliest first, with the logarithm of how
    likely that is."""
    scored: list[tuple[float, Decoded]] = []
    for codec in among:
        text = _strict(data, codec)
        half_a_unit = codec.startswith("utf-16") and len(data) % 2 == 1
        if text is None or half_a_unit:
            continue
        part = text if len(data) <= SAMPLE else data[:SAMPLE].decode(codec, "ignore")
        likely = max(map(partial(letters.likelihood, part), KNOWN[codec][1]))
        scored.append((likely + COMMONER.get(codec, 0.0), Decoded(text, codec)))
    return sorted(scored, key=lambda reading: -reading[0])


def others(data: bytes, taken: str) -> dict[str, str]:
    """Other readings of a text {codec: text}, the likeliest first, one for each that looks different."""
    texts: dict[str, str] = {}
    for _, reading in readings(data[: SAMPLE - SAMPLE % 4]):
        if reading.codec != taken and reading.text not in texts.values() and len(texts) < GUESSES:
            texts[reading.codec] = reading.text
    return texts


def _plain(data: bytes) -> Decoded | None:
    """UTF-8 as it is, or with a few damaged places: cut in the middle of a character, or joined from two files."""
    if ESCAPE in data or b"\0" in data:
        return None
    text = _strict(data, "utf-8")
    if text is not None:
        strange = len(data.translate(None, NOT_STRANGE))
        if strange > 0.1 * len(data) or _is_chance(text, data):
            return None
        return Decoded(text)
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    whole = _beyond_ascii(text) - damaged
    if whole < 3 * damaged:
        return None
    return Decoded(text, damaged=True)


def _beyond_ascii(text: str) -> int:
    """How many characters of a text are not ASCII."""
    return len(text) - len(text.encode("ascii", "ignore"))


def _is_chance(text: str, data: bytes) -> bool:
    """Whether a few letters of another encoding are UTF-8 by chance: two bytes each, and far likelier otherwise."""
    if text.isascii() or max(text) >= "\u0800" or _beyond_ascii(text) > MOST_BY_CHANCE:
        return False
    (likely, first), *rest = readings(data)
    as_utf8 = next((score for score, reading in rest if reading.codec == "utf-8"), likely)
    return first.codec != "utf-8" and likely - as_utf8 >= FAR


def _recognised(data: bytes, candidates: list[tuple[float, Decoded]]) -> Decoded:
    """The first of `readings`, sure where it is far likelier than the next one that looks different."""
    if not candidates:
        return _lenient(data, "cp1252", sure=False)
    score, first = candidates[0]
    rival = next((score for score, reading in candidates if reading.text != first.text), float("-inf"))
    return Decoded(first.text, first.codec, score - rival >= APART)


def _strict(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeError:
        return None


def _lenient(data: bytes, codec: str, *, sure: bool = True) -> Decoded:
    text = _strict(data, codec)
    if text is None:
        return Decoded(data.decode(codec, "replace"), codec, sure, damaged=True)
    return Decoded(text, codec, sure)
