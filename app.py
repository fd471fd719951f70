"""Serves the studio on one port: python app.py [--host H] [--port P] [--home DIR]; then open the printed address."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from studio.system import shell, surroundings

if TYPE_CHECKING:
    from studio.ui.gate import Gate
    from studio.web.services.service import Studio


def make_pages(studio: Studio) -> dict[str, Gate]:
    """The Gradio pages; they take seconds to import."""
    from studio.ui.app import make

    return make(studio)


def prepare_environment(home: Path) -> None:
    """What Gradio and the Hub library read when they are imported; the temporary folders of dead servers go."""
    from studio import storage

    cache = home / "cache"
    for old in cache.glob("gradio-*"):
        if not Path(f"/proc/{old.name.partition('-')[2]}").exists():
            storage.clear(old)
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_RUN_HISTORY="False", HF_HUB_DISABLE_TELEMETRY="1",
                      GRADIO_ANALYTICS_MAX_EVENTS="100", GRADIO_TEMP_DIR=str(cache / f"gradio-{os.getpid()}"),
                      STUDIO_HOME=str(home))


def main() -> int:
    """Serve until told to stop; 2 when it cannot start."""
    surroundings.use_utf8()
    parser = shell.Parser(prog="app.py", description="The studio's page and API.")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--home", type=Path)
    arguments = vars(parser.parse_args())
    for sentence in surroundings.drop_unusable(os.environ):
        print(sentence, file=sys.stderr)
    from studio import storage
    from studio.web import settings as settings_
    try:
        settings = settings_.from_environment(**arguments)
        with suppress(OSError):  # flushed; what refuses is told next
            storage.make_folder(settings.home)
        surroundings.home(settings.home, "--home or STUDIO_HOME")
        listening = settings_.bind(settings.host, settings.port)
    except (settings_.SettingsError, surroundings.UnusableEnvironment) as error:
        print(error, file=sys.stderr)
        return 2
    prepare_environment(settings.home)
    from studio.web.server import serve

    return serve(settings, listening, make_pages)


if __name__ == "__main__":
    sys.exit(main())
