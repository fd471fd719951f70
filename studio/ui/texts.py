"""Every visible word of the pages, in one table: a line per text, a column per language.

The columns stand in the order of `languages.NAMES`: English, Japanese. `{name}` marks a value put in later. Here is
what all share; each page has a file of its own, and `texts_settings.py` has the settings. The scripts in `static/`
read the same table (`theme.head` puts its column into the page).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from studio.ui import texts_datasets, texts_run, texts_settings, texts_train
from studio.web.languages import NAMES

LANGUAGES = tuple(NAMES)
_spoken = ContextVar("language", default=LANGUAGES[0])

TABLE: dict[str, tuple[str, ...]] = {
    "app.title": ("Studio",),
    "app.pages": ("Pages",),
    "app.language": ("Language", "言語"),
    "app.theme": ("Switch between light and dark",),
    "app.reconnecting": ("The studio does not answer; reconnecting …",),
    "app.unauthorized": ("You are signed out. Open the address the studio printed when it started, or sign in again.",),
    "app.not_found": ("There is nothing here: it was deleted, or it belongs to somebody else.",),
    "app.failed": ("That did not work (error {status}). The studio's log says why.",),
    "app.sign_in": ("Sign in with Hugging Face",),
    "app.sign_out": ("Sign out",),
    "app.copy": ("Copy",),
    "app.copied": ("Copied",),
    "app.close": ("Close",),
    "app.never": ("–",),

    "time.seconds": ("{s} s", "{s} 秒"),
    "time.minutes": ("{m} min {s} s", "{m} 分 {s} 秒"),
    "time.hours": ("{h} h {m} min", "{h} 時間 {m} 分"),

    "state.queued": ("Queued",),
    "state.starting": ("Starting",),
    "state.running": ("Running",),
    "state.stopping": ("Stopping",),
    "state.paused": ("Paused",),
    "state.interrupted": ("Interrupted",),
    "state.finished": ("Finished",),
    "state.stopped": ("Stopped",),
    "state.cancelled": ("Cancelled",),
    "state.failed": ("Failed",),
    "state.diverged": ("Diverged",),

    "says.queued": ("Waiting for its turn.",),
    "says.queued_at": ("Waiting: number {position} in the queue.",),
    "says.starting": ("Starting the training process …",),
    "says.running": ("Training.",),
    "says.stopping": ("Finishing the step and ending …",),
    "says.paused": ("Paused and saved. Resume continues exactly here.",),
    "says.interrupted": ("It ended without saying why. Resume continues from the last checkpoint.",),
    "says.finished": ("All steps done. The model is ready to take away.",),
    "says.stopped": ("Stopped and saved. Take it away, or resume.",),
    "says.cancelled": ("Cancelled without saving. Earlier checkpoints are kept.",),
    "says.failed": ("It failed. What happened is written below.",),
    "says.diverged": ("The loss stopped being a number. Try a smaller learning rate.",),

    "phase.downloading": ("Downloading the base model",),
    "phase.loading": ("Loading the model",),
    "phase.caching": ("Preparing pictures and captions",),
    "phase.training": ("Training",),
    "phase.sampling": ("Drawing sample pictures",),
    "phase.saving": ("Saving a checkpoint",),
    "phase.exporting": ("Writing the result",),
    "phase.counted": ("{phase}: {done} of {total} {unit}",),
    "phase.measuring": ("Measuring pictures",),
    "phase.captioning": ("Writing captions",),
    "phase.encoding": ("Encoding",),
    **texts_train.TABLE,
    **texts_run.TABLE,
    **texts_datasets.TABLE,
    **texts_settings.TABLE,
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
    text = _cell(TABLE[key], LANGUAGES.index(_spoken.get()))
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text


def table(language: str) -> dict[str, str]:
    """All texts in a language."""
    return {key: _cell(row, LANGUAGES.index(language)) for key, row in TABLE.items()}


def _cell(row: tuple[str, ...], column: int) -> str:
    return row[column] if column < len(row) else row[0]
