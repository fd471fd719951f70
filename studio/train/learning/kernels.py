"""Which CPU kernels a denoiser computes with, as `compute.attention` and `compute.linear` say."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn import functional as F

from studio.config import Compute

NARROW = 32  # layers with fewer inputs or outputs gain nothing (LoRA's own)


@runtime_checkable
class TakesXformers(Protocol):
    """A model that can compute its attention by xformers: all of diffusers', none of transformers'."""

    def enable_xformers_memory_efficient_attention(self) -> None:
        """Have every attention layer compute by xformers."""


@runtime_checkable
class TakesProcessor(Protocol):
    """A model of diffusers whose attention layers compute by a processor that can be replaced."""

    def set_attn_processor(self, processor: object) -> None:
        """Have every attention layer compute by `processor`."""


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
        output = F.conv2d(picture, self.weight[:, :, None, None], self.bias)
        return output.permute(0, 2, 3, 1).squeeze(2)


def choose(model: nn.Module, compute: Compute, device: torch.device) -> None:
    """Have `model` (a denoiser or a text encoder) compute as the `compute` section says.

    On GPUs, which have kernels of their own, only xformers changes anything. A model whose attention cannot be replaced
    keeps its own.
    """
    if device.type != "cpu":
        if compute.attention == "xformers" and isinstance(model, TakesXformers):
            model.enable_xformers_memory_efficient_attention()
        return
    if compute.attention == "plain" and isinstance(model, TakesProcessor):
        from diffusers.models.attention_processor import AttnProcessor

        model.set_attn_processor(AttnProcessor())
    if compute.linear == "convolution":
        convolve(model)


def convolve(module: nn.Module) -> None:
    """Turn the linear layers of `module`, those inside LoRA layers too, into ConvolvedLinear; weights stay in place."""
    for layer in module.modules():
        if type(layer) is nn.Linear and min(layer.in_features, layer.out_features) >= NARROW:
            layer.__class__ = ConvolvedLinear
