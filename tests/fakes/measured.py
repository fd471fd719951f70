"""`python app.py` that tells what its requests cost: python tests/fakes/measured.py APP_ARGUMENTS, then a line on stdin
for each question: `begin` forgets what was measured, `end` prints it as JSON.

`held` is the longest time, in seconds, that the event loop did not come to its turn: of this process's processor, or on
the clock without what its thread waited for a processor, whichever is less (on a busy machine others run while it
waits for one). `cpu` is the processor time of all threads. Both leave out whatever else the machine does, and child
processes.
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
        waits = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")

        def clocks() -> tuple[float, float]:
            waited = int(waits.read_text().split()[1]) / 1e9 if waits.exists() else 0.0
            return time.process_time(), time.monotonic() - waited

        last = clocks()
        while True:
            await asyncio.sleep(TICK)
            now = clocks()
            self.held = max(self.held, min(now[0] - last[0], now[1] - last[1]))
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

    async def started(self: uvicorn.Server, **kwargs: Any) -> None:
        await startup(self, **kwargs)
        tasks.append(asyncio.create_task(meter.watch()))

    uvicorn.Server.startup = started  # type: ignore[method-assign]
    threading.Thread(target=meter.answer, daemon=True).start()
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
