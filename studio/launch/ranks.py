"""Starts the ranks of a run on this machine and waits for them: python -m studio.launch.ranks RUN_FOLDER RANKS

They meet in a file of the run's folder and talk over the loopback interface, so that nothing of the run listens to the
network. torch's own agent (`accelerate launch`, `torchrun`) opens a TCP store on every address, without a password, for
as long as the run lasts; it is used for several machines alone, which have to reach each other.
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from studio import storage
from studio.folders.runs import RENDEZVOUS
from studio.launch import processes

FILE = "rendezvous"  # in the run's folder, while an attempt lasts
TICK = 0.2


def environment(rank: int, ranks: int, folder: Path) -> dict[str, str]:
    """What one rank is told beside the trainer's own environment: its place, where to meet, and to stay on loopback."""
    loopback = loopback_interface()
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks),
        RENDEZVOUS: str(folder / FILE), "GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": f"={loopback}",
        "NCCL_RAS_ENABLE": "0",  # a monitor with a port of its own
    }


def loopback_interface() -> str:
    """The name of the interface that no other machine reaches (`lo` on Linux, `lo0` on macOS)."""
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            try:
                if ipaddress.ip_address(address.address.partition("%")[0]).is_loopback:
                    return name
            except ValueError:  # a hardware address
                continue
    return "lo"


def start(folder: Path, ranks: int, argv: list[str]) -> int:
    """Run `argv` once for each rank until all have ended; 0 when all ended well, else the status of the first that did
    not (1 for a signal). Each bad end is a line on stderr, from which `diagnosis.signal_of` reads the signal.

    One that fails is not followed by ending the others: they notice, and the supervisor ends those that do not.
    """
    store = folder / FILE
    storage.clear(store)  # of an attempt that was killed
    living: dict[int, subprocess.Popen[bytes]] = {}
    for rank in range(ranks):
        living[rank] = subprocess.Popen(argv, env={**os.environ, **environment(rank, ranks, folder)})
    first = 0
    while living:
        time.sleep(TICK)
        for rank, process in list(living.items()):
            status = process.poll()
            if status is None:
                continue
            del living[rank]
            if status:
                print(f"rank {rank} (process {process.pid}) ended, exitcode: {status}", file=sys.stderr, flush=True)
                first = first or max(status, 1)
    storage.clear(store)
    return first


def main(argv: list[str]) -> int:
    """A run's folder, the number of ranks, and perhaps another command than the trainer's. Returns the exit status."""
    folder, ranks, *command = argv
    return start(Path(folder), int(ranks), command or [sys.executable, "-m", processes.TRAINER, folder])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
