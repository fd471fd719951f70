"""A family that is one file: two text encoders, a transformer, flow matching; everything random but fixed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from PIL import Image
from torch.utils.checkpoint import checkpoint

from studio.families import Family, Source


class TextEncoder(torch.nn.Module, ConfigMixin):
    """A caption becomes `tokens` vectors that depend on its letters."""

    config_name = "config.json"

    @register_to_config
    def __init__(self, tokens: int):
        super().__init__()
        self.tokens, self.table = tokens, torch.nn.Embedding(256, 8)

    def forward(self, captions: list[str]) -> torch.Tensor:
        rows = [hashlib.sha256(caption.encode()).digest()[: self.tokens] for caption in captions]
        return self.table(torch.tensor([list(row) for row in rows]))


class Denoiser(torch.nn.Module, ConfigMixin):
    """One transformer layer over the latent's pixels and the texts' tokens."""

    config_name = "config.json"

    @register_to_config
    def __init__(self, width: int = 16):
        super().__init__()
        self.come, self.texts = torch.nn.Linear(3, width), torch.nn.Linear(8, width)
        self.time = torch.nn.Linear(1, width)
        self.layer = torch.nn.TransformerEncoderLayer(width, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
        self.go = torch.nn.Linear(width, 3)
        self.recompute = False

    def enable_gradient_checkpointing(self) -> None:
        """As diffusers does it."""
        self.recompute = True

    def forward(self, x: torch.Tensor, t: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        tokens = torch.cat([self.come(x.flatten(2).mT), self.texts(texts)], dim=1) + self.time(t[:, None, None] / 1000)
        done = checkpoint(self.layer, tokens, use_reentrant=False) if self.recompute else self.layer(tokens)
        return self.go(done[:, : h * w]).mT.reshape(b, c, h, w)


class Toy(Family):
    """Latents are the picture at an eighth of its size."""

    name, title, denoiser, prediction_types = "toy", "Toy", "transformer", ("flow",)
    pipelines = ()
    lora_targets = {"attention": ("come", "texts", "go")}
    text_encoders = {"text_a": ()}

    def check(self, source: Source) -> None:
        pass

    def defaults(self, source: Source, method: str = "full") -> dict[str, Any]:
        return {}

    def download_patterns(self, variant: str | None) -> list[str]:
        return []

    def load(self, part: str, source: Source, dtype: str | None = None) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(len(part))
            made = {"eye": lambda: torch.nn.AvgPool2d(8), "text_a": lambda: TextEncoder(3),
                    "text_b": lambda: TextEncoder(5), "transformer": Denoiser}[part]()
        return made.eval().requires_grad_(part == "transformer")

    def encoder_parts(self, source: Source) -> dict[str, tuple[str, ...]]:
        return {"images": ("eye",), "texts": ("text_a", "text_b")}

    def encode_images(self, parts: dict[str, Any], pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        mean = parts["eye"](pixels)
        return {"mean": mean, "std": torch.full_like(mean, 0.1)}

    def sample_latents(self, posterior: dict[str, torch.Tensor], noise: torch.Tensor) -> torch.Tensor:
        return posterior["mean"] + posterior["std"] * noise

    def latent_mode(self, posterior: dict[str, torch.Tensor]) -> torch.Tensor:
        return posterior["mean"]

    def encode_texts(self, parts: dict[str, Any], captions: list[str]) -> dict[str, torch.Tensor]:
        return {name: parts[name](captions) for name in ("text_a", "text_b")}

    def schedule(self, source: Source) -> dict[str, Any]:
        return {"kind": "flow", "num_train_timesteps": 1000}

    def predict(self, denoiser: Any, x_t: torch.Tensor, t: torch.Tensor, cond: dict[str, torch.Tensor]) -> torch.Tensor:
        return denoiser(x_t, t, torch.cat([cond["text_a"], cond["text_b"]], dim=1))

    def pipeline(self, parts: dict[str, Any], source: Source, objective: Any) -> Any:
        return parts

    def pipeline_files(self, source: Source, objective: Any) -> dict[str, bytes | Path]:
        return {}

    @torch.no_grad()
    def generate(self, pipeline: Any, conditions: dict[str, torch.Tensor], seed: int, *, size: tuple[int, int],
                 steps: int, guidance: float, negative: dict[str, torch.Tensor],
                 between: Callable[[], None] = lambda: None) -> Image.Image:
        x = torch.randn(1, 3, size[1] // 8, size[0] // 8, generator=torch.Generator().manual_seed(seed))
        for i in range(steps):
            x = x - self.predict(pipeline["transformer"], x, torch.tensor([1000 * (1 - i / steps)]), conditions) / steps
            between()
        return Image.fromarray(((x[0].permute(1, 2, 0).clamp(-1, 1) + 1) * 127.5).byte().numpy())


FAMILY = Toy()
