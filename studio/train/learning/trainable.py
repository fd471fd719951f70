"""What runs forward in training: the denoiser and, where they learn too, the text encoders before it, as one module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from studio.families import Family
from studio.train.batches.cache import Parts, Tensors

if TYPE_CHECKING:
    from diffusers.models.modeling_utils import ModelMixin


class TrainableModel(torch.nn.Module):
    """The denoiser, with the `texts` parts that turn captions into conditions when they are not cached.

    One module, so that DDP, accumulation and autocast see one forward pass. Of `texts` only what the family lets learn
    is a part of the module; tokenizers and other encoders are used as they are.
    """

    def __init__(self, family: Family, denoiser: ModelMixin, texts: Parts):
        super().__init__()
        self.family = family
        self.texts = texts
        self.denoiser = denoiser
        self.encoders = torch.nn.ModuleDict({part: texts[part] for part in family.text_encoders if part in texts})

    def forward(self, x_t: torch.Tensor, time: torch.Tensor, cond: Tensors, captions: list[str]) -> torch.Tensor:
        """The denoiser's output; captions are encoded here, with gradient, when there are `texts` for it."""
        if self.texts:
            cond = {**self.family.encode_texts(self.texts, captions), **cond}
        return self.family.predict(self.denoiser, x_t, time, cond)

    def parts(self) -> Parts:
        """What learns by its name in the family, the denoiser first."""
        return {self.family.denoiser: self.denoiser, **self.encoders}

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass, in every part that can."""
        for part in self.parts().values():
            if hasattr(part, "gradient_checkpointing_enable"):  # transformers' name for it
                part.gradient_checkpointing_enable()
            else:
                part.enable_gradient_checkpointing()
