"""Which number format trains fastest here, measured: python -m studio.jobs.probe  (prints one line of JSON).

Run by studio.machine in a process of its own, since the page never loads torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

REPEATS, SECONDS = 12, 2.0
WORTH = 0.85  # bf16 must take at most this part of fp32's time, since it gives up precision


class Block(nn.Module):
    """A residual convolution and one self-attention, as in a UNet, at small shapes: (B,64,16,16), 256 tokens of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, 64)
        self.first, self.second = nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
        self.qkv, self.out = nn.Linear(64, 192), nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B,64,H,W) to the same shape."""
        x = x + self.second(F.silu(self.first(F.silu(self.norm(x)))))
        b, c, h, w = x.shape
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).view(b, h * w, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.out(mixed).transpose(1, 2).view(b, c, h, w)


def stepper(bf16: bool) -> Callable[[], float]:
    """A function that does one forward, backward and update, and returns its seconds."""
    torch.manual_seed(0)
    model, x = nn.Sequential(Block(), Block()), torch.randn(2, 64, 16, 16)
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> float:
        began = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model(x).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - began

    return step


def choose_on_cpu() -> tuple[str, str]:
    """The precision for training on this CPU, and why."""
    torch.set_num_threads(1)  # other work on the cores would make one thread wait for the next
    steps = stepper(False), stepper(True)
    times, began = [], time.perf_counter()
    while len(times) < 2 or (len(times) < REPEATS and time.perf_counter() - began < SECONDS):
        times.append([step() for step in steps])  # in turn, so that other work slows both alike
    full, half = (min(column) for column in zip(*times, strict=True))
    measured = f"measured on this CPU: fp32 {full * 1000:.0f} ms a step, bf16 {half * 1000:.0f} ms"
    return ("bf16", f"bf16 is faster ({measured})") if half < WORTH * full else ("no", f"fp32 is best ({measured})")


def probe() -> dict[str, Any]:
    """{gpus, precision, precision_reason, torch}."""
    gpus = []
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        gpus.append({"name": properties.name, "memory_bytes": properties.total_memory})
    if not gpus:
        precision, reason = choose_on_cpu()
    elif torch.cuda.is_bf16_supported(including_emulation=False):
        precision, reason = "bf16", f"{gpus[0]['name']} computes in bf16"
    else:
        precision, reason = "fp16", f"{gpus[0]['name']} has no bf16"
    return {"gpus": gpus, "precision": precision, "precision_reason": reason, "torch": torch.__version__}


if __name__ == "__main__":
    print(json.dumps(probe()))
