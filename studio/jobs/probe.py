"""Which number format and kernels train fastest here, measured: python -m studio.jobs.probe  (prints a line of JSON).

Run by studio.system.machine in a process of its own, since the page never loads torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import NotRequired, TypedDict

import torch
from torch import nn
from torch.nn import functional as F

from studio.train.learning.kernels import convolve

REPEATS = 12  # of a measurement at most,
SECONDS = 2.0  # or for so long
WORTH = 0.85  # bf16 must take at most this part of fp32's time, since it gives up precision
BETTER = 0.85  # another kernel than torch's own must take at most this part of its time
Step = Callable[[], object]
Attend = Callable[..., torch.Tensor]


class Choice(TypedDict):
    """What trains fastest on a device: `mixed_precision`, why, and the kernels for each precision. Of a CPU also its
    `speed`: by precision, the seconds that one thread takes for the step that is measured here."""

    precision: str
    precision_reason: str
    kernels: dict[str, dict[str, str]]
    speed: NotRequired[dict[str, float]]


class Gpu(TypedDict):
    """A graphics card."""

    name: str
    memory_bytes: int


class ProbeResult(Choice):
    """What the probe prints; without GPUs the choice is the CPU's."""

    gpus: list[Gpu]
    torch: str


class Block(nn.Module):
    """A residual convolution, one self-attention and a feed-forward layer, as in a small UNet: 256 tokens of 128."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.attend = attend
        self.norm = nn.GroupNorm(32, 128)
        self.first = nn.Conv2d(128, 128, 3, padding=1)
        self.second = nn.Conv2d(128, 128, 3, padding=1)
        self.qkv = nn.Linear(128, 384)
        self.out = nn.Linear(128, 128)
        self.wide = nn.Linear(128, 512)
        self.narrow = nn.Linear(512, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B,128,H,W) to the same shape."""
        x = x + self.second(F.silu(self.first(F.silu(self.norm(x)))))
        b, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).view(b, h * w, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        tokens = tokens + self.out(self.attend(q, k, v).transpose(1, 2).reshape(b, h * w, c))
        tokens = tokens + self.narrow(F.gelu(self.wide(tokens)))
        return tokens.transpose(1, 2).reshape(b, c, h, w)


def whole_step(bf16: bool, kernels: dict[str, str]) -> Step:
    """One forward, backward and update of two blocks for four pictures."""
    attend: Attend = F.scaled_dot_product_attention
    if kernels["attention"] == "plain":
        attend = plain
    model = nn.Sequential(Block(attend), Block(attend))
    x = torch.randn(4, 128, 16, 16)
    if kernels["linear"] == "convolution":
        convolve(model)
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model(x).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def attention_step(bf16: bool, attend: Attend) -> Step:
    """Self-attention forward and backward: 2 pictures, 4 heads of 48, 256 tokens."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    shape = 2, 4, 256, 48
    q = torch.randn(shape, dtype=dtype, requires_grad=True)
    k = torch.randn(shape, dtype=dtype, requires_grad=True)
    v = torch.randn(shape, dtype=dtype, requires_grad=True)
    gradient = torch.randn_like(q)

    def step() -> object:
        return torch.autograd.grad(attend(q, k, v), (q, k, v), gradient)

    return step


def linear_step(bf16: bool, convolved: bool) -> Step:
    """A feed-forward layer forward and backward: 16 pictures (below, one thread takes no convolution of 1x1 to oneDNN),
    64 tokens, 192 to 768."""
    layer = nn.Sequential(nn.Linear(192, 768))
    x = torch.randn(16, 64, 192, requires_grad=True)
    gradient = torch.randn(16, 64, 768)
    if convolved:
        convolve(layer)

    def step() -> object:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            y = layer(x)
        return torch.autograd.grad(y, (x, *layer.parameters()), gradient.to(y.dtype))

    return step


def plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention step by step (B, heads, tokens, width)."""
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ v


def seconds(*steps: Step) -> list[float]:
    """The least CPU time of each, taken in turn, so that other work slows all alike."""
    rounds = []
    began = time.perf_counter()
    while len(rounds) < 2 or (len(rounds) < REPEATS and time.perf_counter() - began < SECONDS):
        rounds.append([_timed(step) for step in steps])
    return list(map(min, zip(*rounds, strict=True)))


def _timed(step: Step) -> float:
    began = time.process_time()  # not the clock: other work on the cores would be counted too
    step()
    return time.process_time() - began


def kernels(bf16: bool) -> dict[str, str]:
    """`compute.attention` and `compute.linear` for one precision: torch's own unless the other is clearly faster."""
    fused, by_steps = seconds(attention_step(bf16, F.scaled_dot_product_attention), attention_step(bf16, plain))
    matmul, convolution = seconds(linear_step(bf16, False), linear_step(bf16, True))
    fastest = {"attention": "sdpa", "linear": "matmul"}
    if by_steps < BETTER * fused:
        fastest["attention"] = "plain"
    if convolution < BETTER * matmul:
        fastest["linear"] = "convolution"
    return fastest


def choose_on_cpu() -> Choice:
    """The precision for training on this CPU, why, and the kernels for each precision."""
    torch.set_num_threads(1)  # other work on the cores would make one thread wait for the next
    fastest = {"no": kernels(False), "bf16": kernels(True)}
    full, half = seconds(whole_step(False, fastest["no"]), whole_step(True, fastest["bf16"]))
    speed = {"no": round(full, 5), "bf16": round(half, 5)}
    measured = f"measured on this CPU: fp32 {full * 1000:.0f} ms a step, bf16 {half * 1000:.0f} ms"
    if half < WORTH * full:
        return {"precision": "bf16", "precision_reason": f"bf16 is faster ({measured})", "kernels": fastest,
                "speed": speed}
    return {"precision": "no", "precision_reason": f"fp32 is best ({measured})", "kernels": fastest, "speed": speed}


def probe() -> ProbeResult:
    """The GPUs of this machine and what trains fastest on it; a GPU chooses its own kernels."""
    gpus: list[Gpu] = []
    for place in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(place)
        gpus.append({"name": properties.name, "memory_bytes": properties.total_memory})
    choice = _choose_on(gpus[0]) if gpus else choose_on_cpu()
    return {"gpus": gpus, **choice, "torch": torch.__version__}


def _choose_on(gpu: Gpu) -> Choice:
    """The precision for training on the GPU of this process."""
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return {"precision": "bf16", "precision_reason": f"{gpu['name']} computes in bf16", "kernels": {}}
    return {"precision": "fp16", "precision_reason": f"{gpu['name']} has no bf16", "kernels": {}}


if __name__ == "__main__":
    print(json.dumps(probe()))
