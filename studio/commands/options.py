"""Diffusers' example scripts whose command lines are read here: the options of each, with the script's own defaults,
and how they stand in a command."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from studio.messages import Message

FLAG, ONE, MANY = "flag", "one", "many"
SECRET = "[secret]"  # in place of a value
MOST_DIGITS = 12  # of a count
SECRET_NAME = re.compile("token|key|secret|password", re.IGNORECASE)
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
Leave = Callable[[str, object, str], None]  # told of an option, its value, and why it has no place


class Option(NamedTuple):
    """An option of the script: its default there, how many values follow it, and whether the LoRA script has it."""

    default: object = None
    takes: str = ONE
    lora: bool = True


OPTIONS: dict[str, Option] = {
    "input_perturbation": Option(0.0, lora=False), "pretrained_model_name_or_path": Option(), "revision": Option(),
    "variant": Option(), "dataset_name": Option(), "dataset_config_name": Option(), "train_data_dir": Option(),
    "image_column": Option(), "caption_column": Option(), "max_train_samples": Option(),
    "validation_prompts": Option(takes=MANY, lora=False), "output_dir": Option(), "cache_dir": Option(),
    "seed": Option(), "resolution": Option(512), "center_crop": Option(False, FLAG),
    "random_flip": Option(False, FLAG), "train_batch_size": Option(16), "num_train_epochs": Option(100),
    "max_train_steps": Option(), "gradient_accumulation_steps": Option(1),
    "gradient_checkpointing": Option(False, FLAG), "learning_rate": Option(1e-4), "scale_lr": Option(False, FLAG),
    "lr_scheduler": Option("constant"), "lr_warmup_steps": Option(500), "snr_gamma": Option(),
    "dream_training": Option(False, FLAG, lora=False), "dream_detail_preservation": Option(1.0, lora=False),
    "use_8bit_adam": Option(False, FLAG), "allow_tf32": Option(False, FLAG),
    "use_ema": Option(False, FLAG, lora=False), "offload_ema": Option(False, FLAG, lora=False),
    "foreach_ema": Option(False, FLAG, lora=False), "non_ema_revision": Option(lora=False),
    "dataloader_num_workers": Option(0), "adam_beta1": Option(0.9), "adam_beta2": Option(0.999),
    "adam_weight_decay": Option(1e-2), "adam_epsilon": Option(1e-8), "max_grad_norm": Option(1.0),
    "push_to_hub": Option(False, FLAG), "hub_token": Option(), "prediction_type": Option(), "hub_model_id": Option(),
    "logging_dir": Option(), "mixed_precision": Option(), "report_to": Option("tensorboard"), "local_rank": Option(),
    "checkpointing_steps": Option(500), "checkpoints_total_limit": Option(), "resume_from_checkpoint": Option(),
    "enable_xformers_memory_efficient_attention": Option(False, FLAG), "noise_offset": Option(0.0),
    "validation_epochs": Option(), "tracker_project_name": Option("text2image-fine-tune", lora=False),
    "image_interpolation_mode": Option("lanczos"),
}
LORA_OPTIONS = {name: option for name, option in OPTIONS.items() if option.lora} | {
    "rank": Option(4), "num_validation_images": Option(4), "validation_prompt": Option()}
_SHARED = (
    "pretrained_model_name_or_path", "revision", "variant", "dataset_name", "dataset_config_name", "cache_dir",
    "image_column", "caption_column", "output_dir", "seed", "resolution", "center_crop", "random_flip",
    "max_train_steps", "checkpointing_steps", "checkpoints_total_limit", "resume_from_checkpoint",
    "gradient_accumulation_steps", "gradient_checkpointing", "learning_rate", "scale_lr", "lr_scheduler",
    "lr_warmup_steps", "dataloader_num_workers", "use_8bit_adam", "adam_beta1", "adam_beta2", "adam_epsilon",
    "max_grad_norm", "push_to_hub", "hub_token", "hub_model_id", "logging_dir", "allow_tf32", "report_to",
    "mixed_precision", "local_rank", "validation_epochs")
# Of the DreamBooth scripts for flow models, whichever of them has it; a family says which scripts train it.
FLOW_OPTIONS: dict[str, Option] = {name: OPTIONS[name] for name in _SHARED} | {
    "instance_data_dir": Option(), "instance_prompt": Option(), "repeats": Option(), "class_data_dir": Option(),
    "class_prompt": Option(), "with_prior_preservation": Option(False, FLAG), "prior_loss_weight": Option(),
    "num_class_images": Option(), "sample_batch_size": Option(), "prior_generation_precision": Option(),
    "max_sequence_length": Option(), "validation_prompt": Option(), "num_validation_images": Option(4),
    "final_validation_prompt": Option(), "skip_final_inference": Option(False, FLAG),
    "train_text_encoder": Option(False, FLAG), "text_encoder_lr": Option(), "train_batch_size": Option(4),
    "num_train_epochs": Option(1), "guidance_scale": Option(), "lr_num_cycles": Option(), "lr_power": Option(),
    "weighting_scheme": Option("none"), "logit_mean": Option(), "logit_std": Option(), "mode_scale": Option(),
    "precondition_outputs": Option(), "optimizer": Option(), "prodigy_beta3": Option(), "prodigy_decouple": Option(),
    "prodigy_use_bias_correction": Option(), "prodigy_safeguard_warmup": Option(), "adam_weight_decay": Option(1e-4),
    "adam_weight_decay_text_encoder": Option(), "image_interpolation_mode": Option("bilinear"),
    "use_aspect_ratio_buckets": Option(False, FLAG), "aspect_ratio_buckets": Option(), "caption_dropout": Option(0.0),
    "offload": Option(False, FLAG), "enable_npu_flash_attention": Option(False, FLAG),
}
FLOW_LORA_OPTIONS = FLOW_OPTIONS | {
    "rank": Option(4), "lora_alpha": Option(4), "lora_dropout": Option(0.0), "lora_layers": Option(),
    "lora_blocks": Option(), "cache_latents": Option(False, FLAG), "upcast_before_saving": Option(False, FLAG),
    "bnb_quantization_config_path": Option(), "do_fp8_training": Option(False, FLAG),
    "fsdp_text_encoder": Option(False, FLAG)}
FLOW_TIMES = {"logit_mean": ("logit_normal", 0.0), "logit_std": ("logit_normal", 1.0),  # the scheme that reads it, and
              "mode_scale": ("mode", 1.29)}                                             # its value where none is given


MEANS = {"use_8bit_adam": "adamw8bit",  # the choice that a flag stands for
         "enable_xformers_memory_efficient_attention": "xformers"}
# The settings of options that only the DreamBooth scripts have, or name otherwise.
PLACES = {"instance_data_dir": "data.data_dir", "lora_alpha": "lora.alpha", "lora_dropout": "lora.dropout",
          "train_text_encoder": "model.train_text_encoder", "text_encoder_lr": "optim.text_encoder_learning_rate",
          "caption_dropout": "data.caption_dropout", "use_aspect_ratio_buckets": "data.buckets",
          "weighting_scheme": "objective.timestep_density", "logit_mean": "objective.logit_mean",
          "logit_std": "objective.logit_std", "mode_scale": "objective.mode_scale"}


class Script(NamedTuple):
    """What a script is called with, whether it trains a LoRA, and whether its models learn a flow."""

    options: dict[str, Option]
    lora: bool = False
    flow: bool = False


PLAIN = {"train_text_to_image.py": Script(OPTIONS), "train_text_to_image_lora.py": Script(LORA_OPTIONS, lora=True)}


def of_flow(name: str, defaults: Mapping[str, object]) -> Script:
    """A DreamBooth script for a flow model, with the `defaults` in which it differs from its siblings."""
    lora = "lora" in name
    options = dict(FLOW_OPTIONS)
    if lora:
        options = dict(FLOW_LORA_OPTIONS)
    for key in defaults.keys() & options.keys():
        options[key] = options[key]._replace(default=defaults[key])
    return Script(options, lora, flow=True)


# Why an option has no setting here, and other words of a command.
WHY = {"output_dir": Message("the studio keeps every run in a folder of its own"),
       "logging_dir": Message("trackers write into the run's own folder `logs/`"),
       "cache_dir": Message("set HF_HOME to move the cache of downloads"),
       "hub_token": Message("a token is never kept: sign in, set HF_TOKEN, or give it when you publish"),
       "local_rank": Message("the launcher numbers its processes by itself"),
       "resume_from_checkpoint": Message("a run goes on from its own newest checkpoint: Resume on its page; "
                                         "--resume-from in the shell names another"),
       "non_ema_revision": Message("deprecated, and the script ends with an error when it is set: use the revision"),
       "validation_epochs": Message("pictures are drawn every so many steps here: set sample.every_steps"),
       "foreach_ema": Message("the average is always updated that way"),
       **dict.fromkeys(("with_prior_preservation", "class_data_dir", "class_prompt", "num_class_images",
                        "prior_loss_weight", "sample_batch_size", "prior_generation_precision"),
                       Message("only the pictures of the data set are learnt from here, without a class of others "
                               "beside them")),
       **dict.fromkeys(("max_sequence_length", "guidance_scale", "precondition_outputs"),
                       Message("the model family decides this here")),
       **dict.fromkeys(("prodigy_beta3", "prodigy_decouple", "prodigy_use_bias_correction", "prodigy_safeguard_warmup"),
                       Message("Prodigy runs with its usual values here")),
       **dict.fromkeys(("lora_layers", "lora_blocks"), Message("choose the layers by lora.targets")),
       **dict.fromkeys(("final_validation_prompt", "skip_final_inference"),
                       Message("the sample prompts are drawn at the end too: set sample.prompts")),
       "instance_prompt": Message("captions come with the pictures: write it to those of the data set"),
       "adam_weight_decay_text_encoder": Message("one weight decay holds for all that learns"),
       "aspect_ratio_buckets": Message("the buckets follow from the resolution: see data.buckets"),
       "cache_latents": Message("what the encoders make of pictures is kept by itself"),
       "upcast_before_saving": Message("checkpoints are always kept in fp32")}
NOT_HERE = Message("the script has no such option")
# Options of launchers that say the same as a setting.
LAUNCHER = {"mixed_precision": "train.mixed_precision", "num_processes": "compute.num_processes",
            "nproc_per_node": "compute.num_processes", "num_cpu_threads_per_process": "compute.num_threads",
            "num_machines": "compute.num_machines", "zero_stage": "compute.deepspeed_stage"}
COMMENT = Message("a comment, which no shell reads")
NO_OPTION = Message("it belongs to no option")
TO_FILL = Message("it looks like a place to fill in: put in what is meant")
OUTPUT = Message("where output goes: a run keeps its log in its own folder")


def read_options(words: list[str], known: dict[str, Option], leave: Leave) -> Iterator[tuple[str, object]]:
    """The options as argparse reads them: `--name value`, `--name=value`, unique beginnings of a name. `leave` is told
    of what is none, or has no value."""
    rest = deque(words)
    before = None  # the option whose one value was just read
    while rest:
        word = rest.popleft()
        if not word.startswith("--"):
            _leave_word(word, before, leave)
            continue
        written, equals, value = word[2:].partition("=")
        name = _whole(written, known) or _whole(written.replace("-", "_"), known)
        takes = _takes(name, known, has_value=bool(equals or (rest and _is_value(rest[0]))))
        values = [value]
        if not equals:
            values = _values(rest, takes, several=name == "report_to")
        before = None
        if takes == ONE:
            before = name
        if name is None:
            _leave_unknown(written, values, leave)
        elif takes == FLAG:
            yield from _flag(name, values, rest, leave)
        elif not values:
            leave(f"--{name}", None, Message("its value is missing"))
        elif takes == MANY:
            yield name, values
        else:
            yield name, ",".join(values)


def _takes(name: str | None, known: dict[str, Option], has_value: bool) -> str:
    """How many values follow an option; of one that the script has not (None), as it stands there."""
    if name is not None:
        return known[name].takes
    if has_value:
        return ONE
    return FLAG


def _leave_word(word: str, before: str | None, leave: Leave) -> None:
    """List a word that no option takes as unplaced; `before` is the option that has its one value already."""
    if before:
        leave(word, None, Message("--{name} takes one value, and this is another", name=before))
    else:
        leave(word, None, NO_OPTION)


def _leave_unknown(written: str, values: list[str], leave: Leave) -> None:
    """List an option that the script has not as unplaced, without what may be a secret."""
    value: str | bool = True
    if SECRET_NAME.search(written):
        value = SECRET
    elif values:
        value = values[0]
    leave(f"--{written}", value, NOT_HERE)


def _flag(name: str, values: list[str], rest: deque[str], leave: Leave) -> Iterator[tuple[str, bool]]:
    """An option without a value; people give it one that says whether it holds."""
    if not values and rest and rest[0].lower() in (*TRUE, *FALSE):
        values = [rest.popleft()]
    if not values or values[0].lower() in TRUE:
        yield name, True
    elif values[0].lower() in FALSE:
        yield name, False
    else:
        leave(f"--{name}", values[0], Message("it takes no value, and this says neither yes nor no"))


def _values(rest: deque[str], takes: str, several: bool) -> list[str]:
    """The words that follow an option as its values, taken from `rest`: one is whatever follows, as argparse has it;
    people give some `several` all the same."""
    values: list[str] = []
    if several or takes == MANY:
        while rest and _is_value(rest[0]):
            values.append(rest.popleft())
    elif takes == ONE and rest:
        values.append(rest.popleft())
    return values


def _is_value(word: str) -> bool:
    return not word.startswith("-") or _is_number(word[1:])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return word[0] in ".0123456789" and "_" not in word


def _whole(written: str, known: dict[str, Option]) -> str | None:
    """The option's name, of which a beginning may be written that no other has; None where there is none."""
    if written in known:
        return written
    matches = [name for name in known if name.startswith(written)]
    if len(matches) == 1:
        return matches[0]
    return None


def count(text: str) -> int | None:
    """A number of things as it was typed; None for anything else."""
    if text.isdecimal() and len(text) <= MOST_DIGITS:
        return int(text)
    return None


def without_secrets(text: str) -> str:
    """A comment without the value of an option that may be a secret."""
    return re.sub(r"(--\w*(?:token|key|secret|password)\w*)([= ]+)\S+", rf"\1\2{SECRET}", text, flags=re.IGNORECASE)
