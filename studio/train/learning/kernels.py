"""Which CPU kernels a denoiser computes with, as `compute.attention` and `compute.linear` say."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

NARROW = 32  # layers with fewer inputs or outputs gain nothing (LoRA's own)


class ConvolvedLinear(nn.Linear):
    """A linear layer computed as a 1x1 convolution over the tokens: the same sums, by oneDNN in place of BLAS.

    torch multiplies fp32 matrices on the CPU with MKL, which leaves half of a processor that is not Intel's unused;
    convolutions, forward and backward, are oneDNN's on every processor.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, tokens, in) to (B, tokens, out); nothing is copied, since channels last is how tokens lie already."""
        if input.dim() != 3:
            return super().forward(input)
        picture = input.unsqueeze(2).permute(0, 3, 1, 2)
        made = F.conv2d(picture, self.weight[:, :, None, None], self.bias)
        return made.permute(0, 2, 3, 1).squeeze(2)


def choose(denoiser: nn.Module, compute: Any, device: torch.device) -> None:
    """Have `denoiser` compute as the `compute` section says. On GPUs, which have kernels of their own, only xformers
    changes anything.

    A denoiser whose attention cannot be replaced keeps its own.
    """
    if device.type != "cpu":
        if compute.attention == "xformers":
            xformers: Any = denoiser
            xformers.enable_xformers_memory_efficient_attention()
        return
    if compute.attention == "plain" and hasattr(denoiser, "set_attn_processor"):
        from diffusers.models.attention_processor import AttnProcessor

        replace: Any = denoiser.set_attn_processor
        replace(AttnProcessor())
    if compute.linear == "convolution":
        convolve(denoiser)


def convolve(module: nn.Module) -> None:
    """Turn the linear layers of `module`, those inside LoRA layers too, into ConvolvedLinear; weights stay in place."""
    for layer in module.modules():
        if type(layer) is nn.Linear and min(layer.in_features, layer.out_features) >= NARROW:
            layer.__class__ = ConvolvedLinear
