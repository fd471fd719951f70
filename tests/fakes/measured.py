"""`python app.py` that tells what its requests cost: python tests/fakes/measured.py APP_ARGUMENTS, then a line on stdin
for each question: `begin` forgets what was measured, `end` prints it as JSON.

`held` is the longest time, in seconds of this process's processor, that the event loop did not come to its turn;
`cpu` the processor time of all threads. Both leave out whatever else the machine does, and child processes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
TICK = 0.001


class Meter:
    """Looks from within the loop how long it was kept from its turn."""

    def __init__(self) -> None:
        self.held = self.began = 0.0

    async def watch(self) -> None:
        """For as long as the server runs."""
        last = time.process_time()
        while True:
            await asyncio.sleep(TICK)
            now = time.process_time()
            self.held = max(self.held, now - last)
            last = now

    def answer(self) -> None:
        """Answer the questions on stdin; called in a thread of its own."""
        for line in sys.stdin:
            if line.strip() == "begin":
                self.held, self.began = 0.0, time.process_time()
                print("{}", flush=True)
            elif line.strip() == "end":
                print(json.dumps({"held": self.held, "cpu": time.process_time() - self.began}), flush=True)


def main() -> int:
    """Serve, measured."""
    import app

    meter, startup = Meter(), uvicorn.Server.startup
    tasks = []

    async def started(self: uvicorn.Server, **given: Any) -> None:
        await startup(self, **given)
        tasks.append(asyncio.create_task(meter.watch()))

    uvicorn.Server.startup = started  # type: ignore[method-assign]
    threading.Thread(target=meter.answer, daemon=True).start()
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
