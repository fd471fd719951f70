"""What the warm server saves: `python benchmarks/warm.py [--rounds 3] [--write]`.

Two studios of this checkout, one with and one without (STUDIO_WARM_START), each with its own home. In turn each is
asked through the API for a run of two steps on the shipped base and pictures (encodings cached), for what the model
sees of a picture, a drawing and a check. Seconds from the request to the first step, or to the first picture or figure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from studio.folders import events

RUN = {"train": {"max_steps": 2}, "sample": {"prompts": []}}
WAYS = ("cold", "warm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="add the table to RESULTS.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="warm-") as work, studio(Path(work) / "cold", warm=False) as cold, studio(
            Path(work) / "warm", warm=True) as warm:
        sides = dict(zip(WAYS, (cold, warm), strict=True))
        for side in sides.values():
            side.measure()  # fills the caches
        rounds = []
        for number in range(options.rounds):
            order = WAYS if number % 2 == 0 else WAYS[::-1]
            rounds.append({way: sides[way].measure() for way in order})
        table = report(rounds, warm.memory())
    print(table)
    if options.write:
        with open(ROOT / "benchmarks" / "RESULTS.md", "a") as file:
            file.write(f"\n{table}")


def report(rounds: list[dict[str, dict[str, float]]], memory: str) -> str:
    lines = [f"## With and without the warm server (`python benchmarks/warm.py`, {time.strftime('%Y-%m-%d')})", "",
             f"Medians of {len(rounds)} rounds in turn. {memory}", "",
             "| seconds from the request to | cold | warm | warm / cold |", "|---|---|---|---|"]
    for what in rounds[0]["cold"]:
        cold, warm = ([each[way][what] for each in rounds] for way in WAYS)
        ratio = median(b / a for a, b in zip(cold, warm, strict=True))
        lines.append(f"| {what} | {median(cold):.2f} | {median(warm):.2f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


class Side:
    """A studio, and what is asked of it."""

    def __init__(self, client: httpx.Client, home: Path, process: psutil.Process, warm: bool):
        self.client = client
        self.home = home
        self.process = process
        self.warm = warm

    def measure(self) -> dict[str, float]:
        """Seconds by what was waited for."""
        self.wait_for_server()
        run, first_step = self.run()
        picture = self.client.get("/api/datasets/sample/images").json()["items"][0]["id"]
        return {
            "the first step of a run": first_step,
            "what the model sees of a picture": self.job(f"datasets/sample/images/{picture}/see", {}),
            "the first drawing": self.job(f"runs/{run}/draw", {"prompts": ["a red apple"], "num_inference_steps": 4}),
            "the end of a check": self.job("runs/probe", {"config": RUN}),
        }

    def wait_for_server(self) -> None:
        """Until the warm server has its imports, where there is to be one."""
        self.client.get("/api/session")
        while self.warm:
            servers = self.servers()
            if servers and servers[0].memory_info().rss > 600 << 20 and servers[0].cpu_percent(0.5) < 1:
                return
            time.sleep(0.2)

    def servers(self) -> list[psutil.Process]:
        return [child for child in self.process.children() if "studio.launch.forks" in child.cmdline()]

    def memory(self) -> str:
        """What the idle warm server takes."""
        text = Path(f"/proc/{self.servers()[0].pid}/status").read_text()
        kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss")}
        return (f"The idle warm server has {kibibytes['RssAnon'] >> 10} MiB of its own, and shares "
                f"{kibibytes['RssFile'] >> 10} MiB of files with others.")

    def run(self) -> tuple[str, float]:
        """A run to its end: its id, and the seconds to its first step."""
        began = time.time()
        run = self.post("runs", {"name": "start", "config": RUN})["id"]
        self.until_ended(f"runs/{run}")
        told, _ = events.read(self.home / "runs" / run / "events.jsonl")
        return run, next(event["time"] for event in told if event["kind"] == "step") - began

    def job(self, address: str, body: dict[str, Any]) -> float:
        """The seconds to a job's first result, or to its end where it has none."""
        began = time.time()
        job = self.post(address, body)["id"]
        self.until_ended(f"jobs/{job}")
        told, _ = events.read(self.home / "jobs" / job / "events.jsonl")
        return next(event["time"] for event in told if event["kind"] in ("result", "end")) - began

    def post(self, address: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.client.post(f"/api/{address}", json=body)
        if answer.is_error:
            raise SystemExit(f"{address}: {answer.text}")
        return answer.json()

    def until_ended(self, address: str) -> None:
        while (state := self.client.get(f"/api/{address}").json()["state"]) != "finished":
            if state in ("failed", "interrupted", "cancelled"):
                raise SystemExit(f"{address}: {state}")
            time.sleep(0.05)


@contextmanager
def studio(home: Path, *, warm: bool) -> Iterator[Side]:
    """A studio on a free port over a home of its own."""
    environment = {**os.environ, "STUDIO_AUTH": "none", "STUDIO_WARM_START": str(int(warm))}
    with open(home.with_suffix(".log"), "wb") as log:
        server = subprocess.Popen([sys.executable, str(ROOT / "app.py"), "--port", "0", "--home", str(home)],
                                  stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http://")).rstrip("/")
        with httpx.Client(base_url=url, timeout=120) as client:
            client.get("/api/machine")  # measured once
            yield Side(client, home, psutil.Process(server.pid), warm)
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main()
