"""Other kernels compute the same: losses and gradients of a UNet, and runs that are resumed."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from studio.config import Compute
from studio.train.learning.kernels import ConvolvedLinear, choose

from ..families import tiny
from .conftest import Make, child, curve, fingerprint, train

CPU = torch.device("cpu")
OTHER = {"attention": "plain", "linear": "convolution", "num_threads": 2}


def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16, layers_per_block=1, block_out_channels=(32, 64), norm_num_groups=8, cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2)


def loss_and_gradients(model: nn.Module) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    x, text = torch.randn(2, 4, 16, 16), torch.randn(2, 7, 32)
    loss = (model(x, torch.tensor([10, 900]), text).sample - x).square().mean()
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("lora", [False, True])
def test_same_loss_and_gradients(lora: bool) -> None:
    found = []
    for compute in ({"attention": "sdpa", "linear": "matmul"}, OTHER):
        model = unet()
        if lora:
            inject_adapter_in_model(LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False), model)
        choose(model, SimpleNamespace(**compute), CPU)
        assert any(type(m) is ConvolvedLinear for m in model.modules()) == (compute is OTHER)
        found.append(loss_and_gradients(model))
    (loss, gradients), (other_loss, other_gradients) = found
    assert other_loss == pytest.approx(loss, rel=1e-6)
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(other_gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_weights_keep_their_names_and_a_gpu_keeps_its_kernels() -> None:
    model = unet()
    names = list(model.state_dict())
    choose(model, SimpleNamespace(**OTHER), torch.device("cuda"))
    assert not any(type(m) is ConvolvedLinear for m in model.modules())
    choose(model, SimpleNamespace(**OTHER), CPU)
    assert list(model.state_dict()) == names


def test_a_resumed_run_repeats_every_bit(make: Make) -> None:
    unbroken, killed = make(compute=OTHER), make(compute=OTHER)
    assert child(killed, "step:5").returncode == -signal.SIGKILL
    for run in (unbroken, killed):
        assert train(run) == "finished"
    assert (curve(killed), fingerprint(killed, 8)) == (curve(unbroken), fingerprint(unbroken, 8))


def test_a_text_encoder_that_learns_beside_xformers_keeps_its_attention() -> None:
    """transformers' models know nothing of xformers, and train_text_to_image.py gives it to the UNet alone."""
    encoder = tiny.parts()["text_encoder"]
    kinds = [type(layer) for layer in encoder.modules()]
    choose(encoder, Compute(attention="xformers"), torch.device("cuda"))
    assert [type(layer) for layer in encoder.modules()] == kinds
