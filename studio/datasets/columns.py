"""Which columns of a table hold the pictures and the captions: asked for, known, or guessed by type and name."""

from __future__ import annotations

from collections.abc import Mapping

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
CAPTIONS = ("text", "caption", "captions", "txt", "prompt", "description", "image_description", "sentences", "title",
            "json.caption", "json.text", "json.prompt")
PICTURE, BINARY, TEXT, TEXTS = "picture", "binary", "text", "list of texts"


class Unfit(ValueError):
    """Columns that cannot be used; the message is a sentence that lists what there is."""


def choose(kinds: Mapping[str, str], image: str | None = None, caption: str | None = None,
           repo: str = "") -> tuple[str, str | None]:
    """The image column and the caption column (None: there is none) of a table whose columns have these kinds.

    What was asked for wins; then a known mapping; then the type (pictures before bytes, texts before lists of them);
    among equals a usual name; then the place. Raises Unfit for a name that is not there or is of another kind."""
    known = KNOWN.get(repo, (None, None))
    image = _asked(kinds, image, (PICTURE, BINARY), "pictures") or _there(kinds, known[0]) or _best(
        kinds, IMAGES, (PICTURE, BINARY))
    if image is None:
        raise Unfit(f"There is no column of pictures among: {listed(kinds)}. Name one, or choose another data set.")
    several = "captions" if (kinds.get("text"), kinds.get("captions")) == (TEXT, TEXTS) else None  # `text` is the first
    caption = _asked(kinds, caption, (TEXT, TEXTS), "captions") or _there(kinds, known[1]) or several or _best(
        {k: v for k, v in kinds.items() if k != image}, CAPTIONS, (TEXT, TEXTS))
    return image, caption


def listed(kinds: Mapping[str, str]) -> str:
    """The columns with their kinds, for a sentence."""
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none at all"


def _asked(kinds: Mapping[str, str], name: str | None, fit: tuple[str, ...], what: str) -> str | None:
    if not name:
        return None
    if name not in kinds:
        raise Unfit(f"There is no column {name[:100]!r}; there are: {listed(kinds)}.")
    if kinds[name] not in fit:
        raise Unfit(f"The column {name[:100]!r} holds no {what} ({kinds[name]}); there are: {listed(kinds)}.")
    return name


def _there(kinds: Mapping[str, str], name: str | None) -> str | None:
    return name if name in kinds else None


def _best(kinds: Mapping[str, str], usual: tuple[str, ...], fit: tuple[str, ...]) -> str | None:
    """The best column of these kinds: by a usual name, whatever its kind among them, else by kind and place."""
    fitting = [name for kind in fit for name, found in kinds.items() if found == kind]
    pictures = [name for name in fitting if kinds[name] == PICTURE]
    named = [name for want in usual for name in (pictures or fitting) if name.lower() == want]
    return next(iter(named or pictures or fitting), None)
