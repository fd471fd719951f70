"""Every visible word of the pages in English, in one table; other languages are catalogues in `studio/locale`.

There each text is a row with its key as `msgctxt`. `{name}` marks a value put in later. Here is what all share; each
page has a file of its own, and `settings.py` has the settings. The scripts in `static/` read the same table
(`frame.head` puts that of the page's language into it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from studio.ui.texts import controls, datasets, play, run, settings, train, trash, usage
from studio.web.http import translation

_spoken = ContextVar("language", default=translation.ENGLISH)

TABLE: dict[str, str] = {
    "app.title": "Studio",
    "app.pages": "Pages",
    "app.language": "Language",
    "app.theme": "Switch between light and dark",
    "app.reconnecting": "The studio does not answer; reconnecting …",
    "app.unauthorized": "You are signed out. Open the address the studio printed when it started, or sign in again.",
    "app.not_found": "There is nothing here: it was deleted, or it belongs to somebody else.",
    "app.failed": "That did not work (error {status}). The studio's log says why.",
    "app.sign_in": "Sign in with Hugging Face",
    "app.sign_out": "Sign out",
    "app.copy": "Copy",
    "app.copied": "Copied",
    "app.close": "Close",
    "app.never": "–",

    "time.seconds": "{s} s",
    "time.minutes": "{m} min {s} s",
    "time.hours": "{h} h {m} min",

    "state.queued": "Queued",
    "state.starting": "Starting",
    "state.running": "Running",
    "state.stopping": "Stopping",
    "state.paused": "Paused",
    "state.interrupted": "Interrupted",
    "state.finished": "Finished",
    "state.stopped": "Stopped",
    "state.cancelled": "Cancelled",
    "state.failed": "Failed",
    "state.diverged": "Diverged",

    "says.queued": "Waiting for its turn.",
    "says.queued_at": "Waiting: number {position} in the queue.",
    "says.starting": "Starting the training process …",
    "says.running": "Training.",
    "says.stopping": "Finishing the step and ending …",
    "says.paused": "Paused and saved. Resume continues exactly here.",
    "says.interrupted": "It ended without saying why. Resume continues from the last checkpoint.",
    "says.finished": "All steps done. The model is ready to take away.",
    "says.stopped": "Stopped and saved. Take it away, or resume.",
    "says.cancelled": "Cancelled without saving. Earlier checkpoints are kept.",
    "says.failed": "It failed. What happened is written below.",
    "says.diverged": "The loss stopped being a number. Try a smaller learning rate.",

    "phase.starting": "Starting",
    "phase.downloading": "Downloading the base model",
    "phase.loading": "Loading the model",
    "phase.caching": "Preparing pictures and captions",
    "phase.first_step": "Making the first step",
    "phase.training": "Training",
    "phase.sampling": "Drawing sample pictures",
    "phase.saving": "Saving a checkpoint",
    "phase.validating": "Measuring the validation loss",
    "phase.exporting": "Writing the result",
    "phase.counted": "{phase}: {done} of {total} {unit}",
    "phase.seconds_usual": "{time} · usually about {usual}",
    "phase.measuring": "Measuring pictures",
    "phase.captioning": "Writing captions",
    "phase.encoding": "Encoding",
    "phase.assembling": "Putting the files together",
    "phase.uploading": "Uploading",
    "phase.renting": "Waiting for the rented machine",
    "phase.fetching": "Fetching what was made",

    "unit.pictures": "pictures",
    "unit.encodings": "encodings",
    "unit.steps": "steps",
    **train.TABLE,
    **run.TABLE,
    **controls.TABLE,
    **datasets.TABLE,
    **play.TABLE,
    **trash.TABLE,
    **settings.TABLE,
    **usage.TABLE,
}


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """What `t` says inside is in `language`."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def t(key: str, /, **values: object) -> str:
    """One text, in the language spoken at the moment, with its values put in."""
    text = translation.text(key, TABLE[key], _spoken.get())
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def table(language: str) -> dict[str, str]:
    """All texts in a language."""
    return {key: translation.text(key, english, language) for key, english in TABLE.items()}
