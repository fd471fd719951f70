"""Which encoding a text is in: recognised by its marks, else by how likely its words are in the languages people write.

Nothing is decoded by guess in silence: whoever asks gets the encoding's name, whether it is sure, and what the same
bytes say in others.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
OLDER = tuple(codec for codec in KNOWN if not codec.startswith("utf"))
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
         codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # the longer before its own beginning
PLAIN = frozenset(range(0x20, 0x7F)) | set(b"\r\n\t\f")
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
    known = {codec: codec for codec in KNOWN} | {known[0].lower(): codec for codec, known in KNOWN.items()} | ALIASES
    spellings = (plain, plain.replace("-", "_"), plain.replace("_", "-"), plain.replace("windows-", "cp"))
    return next((known[spelling] for spelling in spellings if spelling in known), None)


def decode(data: bytes, codec: str | None = None) -> Decoded:
    """The text in `data`: by its byte order mark, by `codec` where one is asked for, else as it is recognised."""
    for mark, marked in MARKS.items():
        if data.startswith(mark):
            return _lenient(data[len(mark):], marked)
    if codec:
        return _lenient(data, codec)
    return _plain(data) or _recognised(data, readings(data))


class Reader:
    """Decodes the files of one import, which are mostly in one encoding: a file that alone is not sure of its own is
    read like most of those that are."""

    def __init__(self, codec: str | None = None):
        self.codec = codec
        self._sure: Counter[str] = Counter()
        self._seen = 0

    def decode(self, data: bytes) -> Decoded:
        """The text in a file; call `learn` with every file first."""
        usual = self._sure.most_common(1)[0][0] if self._sure else ""
        if self.codec or any(data.startswith(mark) for mark in MARKS):
            return decode(data, self.codec)
        if plain := _plain(data):
            if usual.startswith("utf-16") and data:
                return next((found for _, found in readings(data, ["utf-8", usual])), plain)
            return plain
        found = self._readings(data)
        first = _recognised(data, found)
        return first if first.sure else next((other for _, other in found if other.codec == usual), first)

    def learn(self, data: bytes) -> None:
        """Note which encoding a file is in, where that is sure."""
        if self.codec or any(data.startswith(mark) for mark in MARKS) or _plain(data):
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
    sample, found = data[:SAMPLE], []
    for codec in among:
        text = _strict(data, codec)
        if text is None or codec.startswith("utf-16") and len(data) % 2:
            continue
        part = text if len(data) <= SAMPLE else sample.decode(codec, "ignore")
        likely = max(letters.likelihood(part, language) for language in KNOWN[codec][1])
        found.append((likely + COMMONER.get(codec, 0.0), Decoded(text, codec)))
    return sorted(found, key=lambda reading: -reading[0])


def others(data: bytes, taken: str) -> dict[str, str]:
    """Other readings of a text {codec: text}, the likeliest first, one for each that looks different."""
    found: dict[str, str] = {}
    for _, reading in readings(data[: SAMPLE - SAMPLE % 4]):
        if reading.codec != taken and reading.text not in found.values() and len(found) < GUESSES:
            found[reading.codec] = reading.text
    return found


def _plain(data: bytes) -> Decoded | None:
    """UTF-8 as it is, or with a few damaged places: cut in the middle of a character, or joined from two files."""
    if ESCAPE in data or b"\0" in data:
        return None
    if (text := _strict(data, "utf-8")) is not None:
        strange = sum(byte < 0x20 and byte not in PLAIN for byte in data)
        return Decoded(text) if strange <= 0.1 * len(data) and not _is_chance(text, data) else None
    damaged = data.decode("utf-8", "replace")
    good = sum(c > "\x7f" for c in damaged) - damaged.count("\ufffd")
    return Decoded(damaged, damaged=True) if good >= 3 * damaged.count("\ufffd") else None


def _is_chance(text: str, data: bytes) -> bool:
    """Whether a few letters of another encoding are UTF-8 by chance: two bytes each, and far likelier otherwise."""
    if text.isascii() or max(text) >= "\u0800" or sum(c > "\x7f" for c in text) > MOST_BY_CHANCE:
        return False
    (likely, first), *rest = readings(data)
    other = next((score for score, reading in rest if reading.codec == "utf-8"), likely)
    return first.codec != "utf-8" and likely - other >= FAR


def _recognised(data: bytes, found: list[tuple[float, Decoded]]) -> Decoded:
    if not found:
        return _lenient(data, "cp1252", sure=False)
    score, first = found[0]
    rival = next((other for other, reading in found if reading.text != first.text), float("-inf"))
    return Decoded(first.text, first.codec, score - rival >= APART)


def _strict(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeError:
        return None


def _lenient(data: bytes, codec: str, *, sure: bool = True) -> Decoded:
    text = _strict(data, codec)
    return Decoded(text, codec, sure) if text is not None else Decoded(data.decode(codec, "replace"), codec, sure, True)
