"""Builds the embedded base model from nothing but the npm registry; run `python tools/build_base.py --work DIR`."""

from __future__ import annotations

import argparse
import io
import json
import math
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from base_data import Entry, all_texts, by_group, draw_caption, draw_pictures, load_data, write_atomically
from base_export import export, measure, write_card
from base_fast import Muon, Threads, quicken, restart_with_settings
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SEED = 0
SAVE_SECONDS = 120
# Each stage draws its random numbers from (seed, stage, step): a resumed build goes on exactly like an unbroken one.
VAE_STAGE, JOINT_STAGE = 10, 11
VAE_BATCH, VAE_RATE = 32, 2e-3
VOCABULARY, TOKENS, WIDTH = 4096, 32, 192
BATCH, WARM = 64, 6400
LIMITS = """## Limits

It knows emoji and their words only; fine print, flags' emblems and text are not readable, and new combinations of
known parts work now and then. See the grids."""
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "steps_offset": 1,
}


class Keeper:
    """The state file of one stage: restores the named parts and the count of pictures, saves them now and then."""

    def __init__(self, path: Path, parts: dict[str, Any], threads: Threads) -> None:
        self.threads = threads
        self.path, self.parts, self.drawn = path, parts, 0
        self.saved_at = self.told_at = time.monotonic()
        self.told_drawn, self.stop = 0, False
        if path.exists():
            self.restore(path)
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        signal.signal(signal.SIGINT, self._ask_to_stop)

    def _ask_to_stop(self, *_: object) -> None:
        self.stop = True

    def restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.drawn = self.told_drawn = state["drawn"]
        for name, part in self.parts.items():
            part.load_state_dict(state[name])

    def save(self) -> None:
        buffer = io.BytesIO()
        states = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({"drawn": self.drawn, **states}, buffer)
        write_atomically(self.path, buffer.getbuffer())
        self.saved_at = time.monotonic()

    def after_step(self, count: int, loss: Callable[[], float]) -> None:
        """Counts the pictures of a step; tells the loss every half minute, saves when it is time or asked to stop."""
        self.drawn += count
        self.threads.after_step()
        now = time.monotonic()
        if now - self.told_at > 30:
            rate, clock = (self.drawn - self.told_drawn) / (now - self.told_at), time.strftime("%H:%M:%S")
            line = f"{clock} {self.path.stem} {self.drawn} pictures {rate:.1f}/s loss {loss():.4f}"
            print(f"{line} ({torch.get_num_threads()} threads)", flush=True)
            self.told_at, self.told_drawn = now, self.drawn
        if self.stop or now - self.saved_at > SAVE_SECONDS:
            self.save()
        if self.stop:
            raise SystemExit(f"stopped at {self.drawn} pictures; the same command goes on from there")


def generator(stage: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """The random numbers of one step of one stage."""
    rng = np.random.default_rng([SEED, stage, step])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))


def rate_at(drawn: int, total: int, warm: int = 3000) -> float:
    """Share of the full learning rate: a short rise, then a half cosine down to a fiftieth."""
    return min(1.0, (drawn + 1) / warm) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * drawn / total)))


def as_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Bytes (N, H, W, 3) as floats (N, 3, H, W) in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def new_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 48, 96),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=64,
        mid_block_add_attention=False,
    )


def vae_loss(vae: AutoencoderKL, pictures: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
    """L1 for clear edges, squares for the PSNR, and a light KL that only keeps the latents bounded."""
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(pictures).latent_dist
        drawn = vae.decode(posterior.sample(noise)).sample
    error = drawn.float() - pictures
    kl = posterior.kl().mean() / posterior.mean[0].numel()
    return error.abs().mean() + 8 * error.square().mean() + 2e-4 * kl


@torch.no_grad()
def take_weights(model: torch.nn.Module, start: torch.nn.Module) -> None:
    """Begins from the weights of an earlier model wherever name and shape agree."""
    given, own = start.state_dict(), model.state_dict()
    for name, weight in own.items():
        if name in given and given[name].shape == weight.shape:
            weight.copy_(given[name])


def train_vae(work: Path, pictures: np.ndarray, total: int, start: Path | None, threads: Threads) -> AutoencoderKL:
    """The VAE after `total` pictures drawn evenly from all of them."""
    torch.manual_seed(SEED)
    vae = new_vae().to(memory_format=torch.channels_last)
    if start:
        take_weights(vae, AutoencoderKL.from_pretrained(start / "vae"))
    quicken(vae)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=VAE_RATE, betas=(0.9, 0.99), weight_decay=0, fused=True)
    keeper = Keeper(work / "vae.pt", {"vae": vae, "optimizer": optimizer}, threads)
    while keeper.drawn < total:
        rng, noise = generator(VAE_STAGE, keeper.drawn // VAE_BATCH)
        batch = as_tensor(pictures[rng.choice(len(pictures), VAE_BATCH, replace=False)])
        loss = vae_loss(vae, batch.contiguous(memory_format=torch.channels_last), noise)
        for group in optimizer.param_groups:
            group["lr"] = VAE_RATE * (0.3 if start else 1) * rate_at(keeper.drawn, total)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        keeper.after_step(VAE_BATCH, loss.item)
    keeper.save()
    plain = new_vae()
    plain.load_state_dict(vae.state_dict())
    return plain.eval()


@torch.no_grad()
def make_latents(path: Path, vae: AutoencoderKL, pictures: np.ndarray) -> tuple[torch.Tensor, float]:
    """Every picture's latent at unit deviation and the factor that brings it there, kept once computed."""
    if not path.exists():
        means = [vae.encode(as_tensor(pictures[i : i + 64])).latent_dist.mean for i in range(0, len(pictures), 64)]
        latents = torch.cat(means).contiguous()
        factor = 1 / float(latents.std())
        buffer = io.BytesIO()
        torch.save({"latents": latents * factor, "factor": factor}, buffer)
        write_atomically(path, buffer.getbuffer())
    state = torch.load(path, weights_only=True)
    return state["latents"], state["factor"]


def train_tokenizer(work: Path, entries: list[Entry], start: Path | None) -> CLIPTokenizer:
    """A byte-pair tokenizer of the captions' words, made once; earlier weights bring their own."""
    folder = start / "tokenizer" if start else work / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        like = CLIPTokenizer().backend_tokenizer
        fresh = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
        fresh.normalizer, fresh.pre_tokenizer = like.normalizer, like.pre_tokenizer
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<|startoftext|>", "<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            end_of_word_suffix="</w>",
            show_progress=False,
        )
        # Every printable character as a word of its own, so that none of a visitor's prompt is unknown.
        fresh.train_from_iterator([*all_texts(entries), *(chr(code) for code in range(33, 127))], trainer)
        model = json.loads(fresh.to_str())["model"]
        merges = [tuple(pair) for pair in model["merges"]]
        tokenizer = CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=TOKENS)
        with tempfile.TemporaryDirectory(dir=work) as beside:
            tokenizer.save_pretrained(Path(beside) / "tokenizer")
            (Path(beside) / "tokenizer").rename(folder)
    return CLIPTokenizer.from_pretrained(folder)


def new_text_encoder() -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config)


def new_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(96, 192),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
    )


class Average:
    """The running average (EMA) of some weights, quick to follow at first and slow later."""

    def __init__(self, weights: list[torch.nn.Parameter], longest: float = 0.999) -> None:
        self.weights, self.longest, self.steps = weights, longest, 0
        self.average = [weight.detach().clone() for weight in weights]

    @torch.no_grad()
    def follow(self) -> None:
        self.steps += 1
        share = 1 - min(self.longest, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, [weight.detach() for weight in self.weights], share)

    @torch.no_grad()
    def put_in_place(self) -> None:
        for weight, average in zip(self.weights, self.average, strict=True):
            weight.copy_(average)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.average, self.steps = state["average"], state["steps"]


class Joint:
    """Text encoder and UNet with all that training them together needs."""

    def __init__(
        self, latents: torch.Tensor, entries: list[Entry], tokenizer: CLIPTokenizer, start: Path | None, rate: float
    ) -> None:
        torch.manual_seed(SEED)
        self.text, self.unet = new_text_encoder(), new_unet().to(memory_format=torch.channels_last)
        if start:
            take_weights(self.text, CLIPTextModel.from_pretrained(start / "text_encoder"))
            take_weights(self.unet, UNet2DConditionModel.from_pretrained(start / "unet"))
        quicken(self.unet)
        # With 64 places and 32 words plain matrix products are quicker than the fused attention.
        self.unet.set_attn_processor(AttnProcessor())
        self.weights = [*self.text.parameters(), *self.unet.parameters()]
        turned = [weight for weight in self.weights if self._for_muon(weight)]
        rest = [weight for weight in self.weights if not self._for_muon(weight)]
        self.rate = rate
        self.muon = Muon(turned, rate)
        self.adam = torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
        self.average = Average(self.weights)
        self.latents, self.entries, self.tokenizer = latents, entries, tokenizer
        self.groups = by_group(entries)
        self.signal = DDIMScheduler(**SCHEDULE).alphas_cumprod

    def _for_muon(self, weight: torch.nn.Parameter) -> bool:
        """Inner matrices and convolutions; tables of words and the latent's own four channels are AdamW's."""
        tables = {id(module.weight) for module in self.text.modules() if isinstance(module, torch.nn.Embedding)}
        outer = {id(self.unet.conv_in.weight), id(self.unet.conv_out.weight)}
        return weight.ndim > 1 and id(weight) not in tables | outer

    def parts(self) -> dict[str, Any]:
        models = {"text": self.text, "unet": self.unet, "average": self.average}
        return models | {"muon": self.muon, "adam": self.adam}

    def loss(self, drawn: int) -> torch.Tensor:
        """Error of the predicted noise over the batch that begins at picture `drawn` of the endless order."""
        rng, noise_rng = generator(JOINT_STAGE, drawn // BATCH)
        chosen = draw_pictures(self.groups, BATCH, drawn, SEED)
        captions = [draw_caption(self.entries[index], rng) for index in chosen]
        tokens = self.tokenizer(captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
        clean = self.latents[chosen]
        noise = torch.randn(clean.shape, generator=noise_rng)
        times = torch.randint(0, 1000, (BATCH,), generator=noise_rng)
        kept = self.signal[times].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * clean + (1 - kept).sqrt() * noise
        with torch.autocast("cpu", torch.bfloat16):
            states = self.text(tokens.input_ids)[0]
            guess = self.unet(noisy.contiguous(memory_format=torch.channels_last), times, states).sample
        # Min-SNR weights: the nearly clean steps would otherwise drown those that decide what is drawn.
        ratio = kept / (1 - kept)
        return ((guess.float() - noise).square() * ratio.clamp(max=5) / ratio).mean()

    def train(self, keeper: Keeper, until: int, share: Callable[[int], float]) -> None:
        """Steps until `until` pictures are drawn in all; `share` of the learning rate holds at a count of them."""
        while keeper.drawn < until:
            loss = self.loss(keeper.drawn)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
            for optimizer in (self.muon, self.adam):
                for group in optimizer.param_groups:
                    group["lr"] = self.rate * share(keeper.drawn)
                optimizer.step()
                optimizer.zero_grad()
            self.average.follow()
            keeper.after_step(BATCH, loss.item)
        keeper.save()


def train_joint(work: Path, joint: Joint, pictures: int, cooldown: int, threads: Threads) -> None:
    """Draws `pictures` in all: at a constant rate, then the last `cooldown` of them on a branch with a falling rate.

    The trunk keeps its constant-rate state, so a later call with more pictures goes on from there, and cools again.
    """
    branch = work / f"joint-{pictures}.pt"
    if not branch.exists():
        trunk = Keeper(work / "joint.pt", joint.parts(), threads)
        joint.train(trunk, pictures - cooldown, lambda drawn: min(1.0, (drawn + 1) / WARM))
    keeper = Keeper(branch, joint.parts(), threads)
    if not branch.exists():
        keeper.drawn = keeper.told_drawn = trunk.drawn
    begin, end = pictures - cooldown, max(pictures, keeper.drawn)
    joint.train(keeper, end, lambda drawn: max(0.02, 1 - (drawn - begin) / max(1, end - begin)))
    joint.average.put_in_place()


def recipe_of(arguments: argparse.Namespace) -> str:
    begun = "from the weights of an earlier version" if arguments.start else "from random weights"
    return (
        f"On two CPU cores in bf16 autocast, {begun}: the VAE on {arguments.vae_pictures:,} pictures (L1 + 8 MSE +\n"
        f"2e-4 KL, AdamW, cosine); text encoder and UNet together on {arguments.pictures:,} (batches of {BATCH}, Muon\n"
        f"for matrices and AdamW for the rest at {arguments.rate:g}, falling over the last {arguments.cooldown:,},\n"
        "min-SNR weights of 5, EMA 0.999)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the cache and the state, outside the tree")
    parser.add_argument("--vae-pictures", type=int, default=80_000, help="pictures the VAE is trained on")
    parser.add_argument("--pictures", type=int, default=500_000, help="pictures text encoder and UNet are trained on")
    parser.add_argument("--cooldown", type=int, default=60_000, help="the last of them, at a falling learning rate")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="learning rate of text encoder and UNet")
    parser.add_argument("--start", type=Path, help="begin from this model folder's weights instead of random ones")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--export", type=Path, help="write the diffusers folder and its model card here")
    arguments = parser.parse_args()
    restart_with_settings()
    work, start = arguments.work, arguments.start
    threads = Threads(arguments.threads)
    pictures, entries = load_data(work)
    vae = train_vae(work, pictures, arguments.vae_pictures, start, threads)
    latents, factor = make_latents(work / f"latents-{arguments.vae_pictures}.pt", vae, pictures)
    tokenizer = train_tokenizer(work, entries, start)
    joint = Joint(latents, entries, tokenizer, start, arguments.rate)
    train_joint(work, joint, arguments.pictures, arguments.cooldown, threads)
    if arguments.export:
        text, unet = new_text_encoder(), new_unet()
        text.load_state_dict(joint.text.state_dict())
        unet.load_state_dict(joint.unet.state_dict())
        pipe = export(vae, factor, text, unet, tokenizer, SCHEDULE, arguments.export)
        counts = {"pictures": len(entries), "groups": len(joint.groups)}
        write_card(arguments.export, pipe, measure(arguments.export, work), counts, recipe_of(arguments), LIMITS)


if __name__ == "__main__":
    main()
