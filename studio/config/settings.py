"""Every setting of a run, written once: its type, default, limits, help, and the reference script's name for it.

The page's form, the `--section.name` flags, `/api/config/schema`, the range checks and README's table all read these
lines. A setting whose default is None is "from the base": `config.resolve` fills it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from studio.config.fields import Section, setting

LR_SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")
LrScheduler = Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"]
# `flow_prediction` is what diffusers' schedulers call it.
Prediction = Annotated[str, Field(max_length=40), AfterValidator(lambda v: "flow" if v == "flow_prediction" else v)]
Prompt = Annotated[str, Field(max_length=2000)]
Tracker = Literal["tensorboard", "wandb", "trackio"]


class Model(Section):
    """Base model"""

    family: str | None = setting(
        None, "Model family", "Which family of models the base belongs to; empty is told by the base itself.",
        max_length=40)
    base: str = setting(
        "embedded", "Base model", "`embedded` (ships with the studio), a diffusers folder, or a Hub id.",
        reference="pretrained_model_name_or_path", basic=True, min_length=1, max_length=1000)
    revision: str | None = setting(
        None, "Revision", "Branch, tag or commit of a Hub base; empty is the main branch.",
        reference="revision", max_length=200)
    variant: str | None = setting(
        None, "Variant", "Which files to load, for example `fp16`; applied to every part of the base.",
        reference="variant", max_length=40)
    method: Literal["full", "lora"] = setting(
        "full", "Method", "`full` trains every weight. `lora` trains a small addition of a few MB that is used with "
        "the base: less memory, smaller files.", basic=True)
    train_text_encoder: bool = setting(
        False, "Train the text encoder", "Let it learn too, for words the base does not know. Captions are then "
        "encoded anew in every step: slower, more memory.")


class Lora(Section):
    """LoRA"""

    rank: int = setting(
        16, "LoRA rank", "Size of the addition: more learns more detail, and makes larger files. Only for the method "
        "`lora`, like all of this group.", reference="rank", ge=1, le=1024)
    alpha: float | None = setting(
        None, "LoRA alpha", "Strength of the addition: it is scaled by alpha / rank; empty is the rank.", gt=0, le=1e6)
    dropout: float = setting(
        0.0, "LoRA dropout", "Share of the addition's inputs left out at random in each step.", ge=0, lt=1)
    targets: Literal["attention", "attention+feed-forward"] = setting(
        "attention", "LoRA layers", "Which layers get an addition. With the feed-forward layers it learns more, and "
        "is about twice as large.")
    dora: bool = setting(
        False, "DoRA", "Train lengths and directions of the weights apart: a little better at low ranks, slower. For "
        "diffusers and ComfyUI; A1111 does not read it.")


class Data(Section):
    """Pictures"""

    dataset: str = setting(
        "sample", "Data set", "The data set to learn from: its id. In the shell also a Hub id such as `user/name`, or "
        "a folder of this machine with a `/` in it; those are imported first.",
        reference="dataset_name", basic=True, min_length=1, max_length=1000)
    config_name: str | None = setting(
        None, "Configuration", "Which configuration (subset) of a Hub data set; empty is its default.",
        reference="dataset_config_name", max_length=200)
    revision: str | None = setting(
        None, "Data set revision", "Branch, tag or commit of a Hub data set; empty is the main branch.",
        max_length=200)
    split: str | None = setting(
        None, "Split", "Which split of a Hub data set; empty takes all, of which only `train` is learnt from.",
        max_length=200)
    data_dir: str | None = setting(
        None, "Data folder", "A folder inside a Hub data set; alone, a folder of pictures on this machine.",
        reference="train_data_dir", max_length=1000)
    data_files: list[str] | None = setting(
        None, "Data files", "Files or patterns inside a Hub data set, such as `data/train-*.parquet`, one a line.",
        max_length=1000)
    image_column: str | None = setting(
        None, "Image column", "Column of a Hub data set, or of a folder's table, that holds the pictures or their "
        "names; empty guesses.",
        reference="image_column", max_length=200)
    caption_column: str | None = setting(
        None, "Caption column", "Column of a Hub data set, or of a folder's table, that holds a caption, or a list "
        "of them; empty guesses.",
        reference="caption_column", max_length=200)
    max_rows: int | None = setting(
        None, "Most rows", "Stop reading a Hub data set after so many rows; empty reads 100,000 at most.",
        ge=1, le=100_000)
    resolution: int | None = setting(
        None, "Resolution", "Side of the square the model sees, in pixels; empty takes the base's own. "
        "Twice the side costs about four times the time and memory.",
        reference="resolution", basic=True, ge=16, le=4096, multiple_of=8)
    center_crop: bool = setting(
        True, "Centre crop", "Crop the middle; off crops at random each epoch, which cannot be cached and is slower.",
        reference="center_crop")
    crop_variants: int = setting(
        0, "Crop variants", "With random crops: so many places of each picture, which are cached; 0 crops anywhere, "
        "encoding each step anew.", ge=0, le=64)
    buckets: bool = setting(
        False, "Aspect-ratio buckets", "Train each picture near its own proportions, at about the same number of "
        "pixels, instead of cutting all to a square.")
    bucket_max_aspect: float = setting(
        2.0, "Longest bucket", "Largest proportion of long side to short side; longer pictures are cropped to it.",
        ge=1, le=4)
    bucket_step: int | None = setting(
        None, "Bucket step", "A bucket's sides are multiples of so many pixels; empty takes what the base's layers "
        "need.", ge=8, le=256, multiple_of=8)
    bucket_no_upscale: bool = setting(
        False, "Never enlarge", "A picture smaller than its bucket takes a smaller one instead of being enlarged.")
    random_flip: bool = setting(
        False, "Random flip", "Mirror half of the pictures each epoch. Leave off for text, logos and faces.",
        reference="random_flip")
    interpolation: Literal["lanczos", "bicubic", "bilinear", "box", "hamming", "nearest"] = setting(
        "lanczos", "Interpolation", "How pictures are resized.", reference="image_interpolation_mode")
    caption_dropout: float = setting(
        0.0, "Caption dropout", "Share of samples that are learnt without their caption, so that guidance stays "
        "strong; 0.1 is usual.", ge=0, le=1)
    max_samples: int | None = setting(
        None, "Most pictures", "Learn from so many pictures, chosen by the seed; empty takes all.",
        reference="max_train_samples", ge=1, le=100_000_000)


class Train(Section):
    """Training"""

    max_steps: int | None = setting(
        None, "Steps", "Number of weight updates. More steps learn the style more firmly, and take longer; "
        "empty takes the base's own suggestion, or follows from the epochs.",
        reference="max_train_steps", basic=True, ge=1, le=10_000_000)
    epochs: int | None = setting(
        None, "Epochs", "Passes over all pictures; used only when the steps are empty.",
        reference="num_train_epochs", ge=1, le=1_000_000)
    batch_size: int | None = setting(
        None, "Batch size", "Pictures per forward pass and process. Larger is steadier and needs more memory.",
        reference="train_batch_size", basic=True, ge=1, le=4096)
    gradient_accumulation_steps: int = setting(
        1, "Gradient accumulation", "Forward passes per update: the effect of a larger batch without its memory.",
        reference="gradient_accumulation_steps", ge=1, le=4096)
    mixed_precision: Literal["no", "fp16", "bf16"] | None = setting(
        None, "Mixed precision", "Number format of the forward pass; weights stay fp32. Empty takes what was "
        "measured to be fastest on this machine. fp16 needs a GPU.", reference="mixed_precision")
    gradient_checkpointing: bool = setting(
        False, "Gradient checkpointing", "Recompute activations: less memory, about 20 % slower.",
        reference="gradient_checkpointing")
    seed: int | None = setting(
        None, "Seed", "Start of every random draw; the same seed repeats the run. Empty picks one.",
        reference="seed", ge=0, le=2**53 - 1)


class Optim(Section):
    """Optimizer"""

    name: Literal["adamw", "adamw8bit", "prodigy", "schedulefree"] = setting(
        "adamw", "Optimizer", "`adamw8bit` keeps its moments in a quarter of the memory (tensors below 4096 elements "
        "stay in 32 bit). `prodigy` finds the learning rate by itself. `schedulefree` needs neither a schedule nor an "
        "EMA.", reference="use_8bit_adam")
    learning_rate: float | None = setting(
        None, "Learning rate", "Size of each update. Too high breaks the model, too low learns nothing; "
        "empty takes the base's own suggestion.", reference="learning_rate", basic=True, gt=0, le=10)
    lr_multiplier: float = setting(
        1.0, "Learning rate multiplier", "Factor on the schedule's learning rate. It can be changed while the run "
        "trains, and then holds from that step on.", gt=0, le=1000)
    text_encoder_learning_rate: float | None = setting(
        None, "Text encoder's learning rate", "Where the text encoder learns too; empty is the same rate. Half or a "
        "tenth of it is usual.", gt=0, le=10)
    scale_lr: bool = setting(
        False, "Scale the learning rate", "Multiply it by batch size, gradient accumulation and processes.",
        reference="scale_lr")
    lr_scheduler: LrScheduler | None = setting(
        None, "Schedule", "How the learning rate changes over the run; empty takes the base's own suggestion.",
        reference="lr_scheduler")
    lr_warmup_steps: int | None = setting(
        None, "Warm-up steps", "Updates over which the learning rate rises from zero. Empty is a tenth of the steps, "
        "500 at most, and none for the constant schedule.", reference="lr_warmup_steps", ge=0, le=10_000_000)
    adam_beta1: float = setting(0.9, "Adam beta 1", "Memory of the mean gradient.", reference="adam_beta1", ge=0, lt=1)
    adam_beta2: float = setting(
        0.999, "Adam beta 2", "Memory of the squared gradient.", reference="adam_beta2", ge=0, lt=1)
    adam_weight_decay: float = setting(
        1e-2, "Weight decay", "Pull of the weights towards zero.", reference="adam_weight_decay", ge=0, le=10)
    adam_epsilon: float = setting(
        1e-8, "Adam epsilon", "Added to the denominator of the update.", reference="adam_epsilon", gt=0, le=1)
    max_grad_norm: float = setting(
        1.0, "Gradient clipping", "Longest gradient allowed; longer ones are scaled down. 0 turns it off.",
        reference="max_grad_norm", ge=0, le=1e9)
    fused_backward: bool = setting(
        False, "Update in the backward pass", "Update each weight as soon as its gradient is there, and free the "
        "gradient: less memory. Without clipping, accumulation, fp16 and further processes.")


class Objective(Section):
    """Objective"""

    prediction_type: Prediction | None = setting(
        None, "Prediction", "What the model predicts: `epsilon`, `v_prediction` or `flow`, as far as its family can. "
        "Empty takes the base's own; changing it needs a long run.", reference="prediction_type")
    snr_gamma: float = setting(
        0.0, "SNR gamma", "Weighs down the nearly noiseless times (min-SNR), which steadies training; 5 is usual. "
        "0 turns it off.", reference="snr_gamma", ge=0, le=1000)
    noise_offset: float = setting(
        0.0, "Noise offset", "Shifts the noise of a whole picture, for darker darks and brighter brights; 0.05 to 0.1 "
        "is usual. 0 turns it off.", reference="noise_offset", ge=0, le=1)
    input_perturbation: float = setting(
        0.0, "Input perturbation", "Extra noise on the input alone, against errors that add up in drawing; 0.1 is "
        "usual. 0 turns it off.", reference="input_perturbation", ge=0, le=1)
    dream: bool = setting(
        False, "DREAM", "Train on the model's own estimate too (rectified targets): fewer steps to the same quality, "
        "each a third slower. Only for epsilon.", reference="dream_training")
    dream_detail_preservation: float = setting(
        1.0, "DREAM detail", "Higher keeps more of the fine detail; the paper's value is 1.",
        reference="dream_detail_preservation", ge=0, le=100)
    zero_terminal_snr: bool = setting(
        False, "Zero terminal SNR", "Rescale the noise so that nothing of the picture is left at the last time: real "
        "black and white. Only for v-prediction.")
    timestep_density: Literal["uniform", "logit_normal", "mode"] | None = setting(
        None, "Density of times", "For flow: how often each noise level is learnt. `logit_normal` and `mode` learn the "
        "middle ones most. Empty takes the family's own.")
    logit_mean: float | None = setting(
        None, "Logit mean", "For `logit_normal`: a positive mean learns more of the noisy times, a negative one more "
        "of the clean ones. Empty takes the family's own.", ge=-10, le=10)
    logit_std: float | None = setting(
        None, "Logit deviation", "For `logit_normal`: the smaller, the closer to the mean. Empty takes the family's "
        "own.", gt=0, le=10)
    mode_scale: float | None = setting(
        None, "Mode scale", "For `mode`: the higher, the more of the middle. Empty takes the family's own.", ge=-1,
        le=1.75)
    timestep_shift: str | None = setting(
        None, "Shift of times", "For flow: moves all times towards the noise. `none`, a number such as `3`, or "
        "`length`: by an image's size. Empty takes the base's own.", max_length=20,
        pattern=r"^(none|length|[1-9]\d{0,2}(\.\d{1,6})?|0\.\d{0,5}[1-9]\d{0,5})$")


class Ema(Section):
    """EMA"""

    enabled: bool = setting(
        True, "Keep an average (EMA)", "A running average of the weights: calmer pictures, one more copy in memory.",
        reference="use_ema")
    decay: float = setting(
        0.9999, "EMA decay", "Upper limit of the average's memory; short runs stay below it by themselves.",
        ge=0, lt=1)
    min_decay: float = setting(0.0, "Least EMA decay", "Lower limit of the average's memory.", expert=True, ge=0,
                               lt=1)
    update_after_step: int = setting(
        0, "EMA starts after", "Updates during which the average is a copy of the weights.", expert=True, ge=0,
        le=10_000_000)
    warmup: bool = setting(
        False, "EMA warm-up", "Let the decay rise as 1 - (1 + n / inverse gamma) ^ -power, not (1 + n) / (10 + n).",
        expert=True)
    inv_gamma: float = setting(
        1.0, "EMA inverse gamma", "Updates at which the warm-up's rise begins.", expert=True, gt=0, le=1e6)
    power: float = setting(
        2 / 3, "EMA power", "How fast the warm-up's decay rises: 2/3 for a million updates, 3/4 for fewer.",
        expert=True, gt=0, le=4)
    offload: bool = setting(
        False, "EMA on the CPU", "Keep the average in the CPU's memory: saves GPU memory, costs time at each update.",
        reference="offload_ema")


class Sample(Section):
    """Sample pictures"""

    prompts: list[Prompt] | None = setting(
        None, "Sample prompts", "One line each. Drawn at step 0 and as the run goes on, from fixed seeds; "
        "empty takes the data set's or the base's own suggestions.",
        reference="validation_prompts", basic=True, max_length=64)
    every_steps: int | None = setting(
        None, "Sample every", "Steps between sample pictures; 0 draws only at the start and the end. "
        "Empty draws about six times a run.", ge=0, le=10_000_000)
    width: int | None = setting(
        None, "Width", "Of a sample picture, in pixels; empty is the resolution that is trained at.", ge=16, le=4096,
        multiple_of=8)
    height: int | None = setting(
        None, "Height", "Of a sample picture, in pixels; empty is the resolution that is trained at.", ge=16, le=4096,
        multiple_of=8)
    num_inference_steps: int | None = setting(
        None, "Drawing steps", "Denoising steps per sample picture; empty takes the base's own.", ge=1, le=1000)
    guidance_scale: float | None = setting(
        None, "Guidance", "How strictly a picture follows its prompt; empty takes the base's own.", ge=0, le=100)
    seed: int = setting(0, "Sample seed", "Seed of the first prompt's picture; the next prompts count on.",
                        ge=0, le=2**53 - 1)


class Validation(Section):
    """Validation loss"""

    every_steps: int | None = setting(
        None, "Measure every", "Steps between measurements of the loss on held-out pictures; 0 measures never. Empty "
        "measures about ten times a run.", ge=0, le=10_000_000)
    share: float = setting(
        0.0, "Share held out", "Where the data set holds out no pictures itself (folders `test` or `validation`), so "
        "much of it is not trained on.", ge=0, le=0.5)
    pictures: int = setting(
        64, "Most held-out pictures", "Each costs four forward passes per measurement.", ge=1, le=10_000)


class Checkpoint(Section):
    """Checkpoints"""

    every_steps: int | None = setting(
        None, "Checkpoint every", "Steps between saves; empty saves about three times a run. "
        "The last step is always saved.", reference="checkpointing_steps", ge=1, le=10_000_000)
    keep: int = setting(
        2, "Checkpoints kept", "Older ones go when a newer one is safely on disk.",
        reference="checkpoints_total_limit", ge=1, le=1000)


class Compute(Section):
    """Compute"""

    backend: Literal["local", "hf_jobs"] = setting(
        "local", "Where it trains", "`local` is this machine. `hf_jobs` rents one from Hugging Face for the run, with "
        "your own token and at your cost; losses and pictures come here as they are made, the newest checkpoint at the "
        "end.")
    flavor: str = setting(
        "l4x1", "Rented hardware", "For `hf_jobs`: the hardware, as `hf jobs hardware` lists it with its price; for "
        "example `cpu-basic`, `t4-small`, `l4x1`, `a100-large`.", max_length=40, pattern=r"^[a-z0-9][a-z0-9-]*$")
    image: str = setting(
        "python:3.11", "Rented machine's image", "For `hf_jobs`: a Docker image with Python 3.11 or newer and pip; "
        "what of the studio's requirements it lacks is installed first.", max_length=200,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$")
    timeout_hours: int = setting(
        24, "Longest rent", "For `hf_jobs`: hours after which the job is ended whatever it does, so that it never "
        "costs more.", ge=1, le=720)
    num_processes: int = setting(
        1, "Processes", "Training processes in all, one per GPU; several machines share them out evenly.", ge=1,
        le=4096)
    num_machines: int = setting(
        1, "Machines", "Machines that train together. This one is the first; its run page shows the command for the "
        "others.", ge=1, le=512)
    main_address: str | None = setting(
        None, "Address of this machine", "Name or address at which the other machines reach this one; only for "
        "several machines.", max_length=253, pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]*$")
    main_port: int = setting(
        29500, "Port of this machine", "TCP port at which the machines meet; only for several machines.", ge=1024,
        le=65535)
    deepspeed_stage: int = setting(
        0, "DeepSpeed ZeRO stage", "What the processes share out instead of each keeping all: 1 the optimizer's state, "
        "2 gradients too, 3 weights too. 0 shares nothing and is fastest. Linux only.", ge=0, le=3)
    offload_optimizer_device: Literal["none", "cpu"] = setting(
        "none", "Optimizer offload", "With a ZeRO stage, `cpu` keeps the optimizer's state in main memory: less GPU "
        "memory, slower.")
    offload_param_device: Literal["none", "cpu"] = setting(
        "none", "Weights offload", "With ZeRO stage 3, `cpu` keeps the weights in main memory until they are needed.")
    num_threads: int | None = setting(
        None, "CPU threads", "Threads per process; empty divides the cores. Recorded, since sums depend on it.",
        ge=1, le=1024)
    num_workers: int = setting(
        0, "Loader workers", "Threads that read pictures ahead; useful only when nothing is cached.",
        reference="dataloader_num_workers", ge=0, le=64)
    allow_tf32: bool = setting(
        False, "TF32", "Multiply with 10 bits of mantissa on NVIDIA GPUs since Ampere: much faster in fp32, less "
        "exact.", reference="allow_tf32")
    deterministic: bool = setting(
        False, "Deterministic", "Use only GPU kernels that add in the same order each time, so that a resumed run "
        "repeats every bit on a GPU too; slower, and an operation without such a kernel ends the run. A CPU repeats "
        "every bit anyway.")
    attention: Literal["sdpa", "plain", "xformers"] | None = setting(
        None, "Attention", "`sdpa` is torch's fused attention; `plain` multiplies step by step, which takes more "
        "memory and is faster on some CPUs; `xformers` needs that package and a GPU. Empty takes what was measured to "
        "be fastest on this machine.", reference="enable_xformers_memory_efficient_attention", expert=True)
    thread_wait: Literal["sleep", "spin"] = setting(
        "sleep", "Waiting threads", "`sleep` shares the cores well. `spin` makes small models up to 1.6 times faster "
        "on a machine that does nothing else, and many times slower on one that does.", expert=True)
    linear: Literal["matmul", "convolution"] | None = setting(
        None, "Linear layers", "How a CPU computes them: `matmul` by BLAS, `convolution` by oneDNN, which is up to "
        "twice as fast where BLAS is not made for the processor. Empty takes what was measured.", expert=True)


class Track(Section):
    """Trackers"""

    report_to: list[Tracker] = setting(
        [], "Trackers", "Also write losses, settings and pictures for these, into the run's folder `logs/`. W&B stays "
        "offline unless this machine is signed in to it (`wandb login`).", reference="report_to", max_length=10)
    project: str = setting(
        "studio", "Project", "What the trackers call the collection this run belongs to.",
        reference="tracker_project_name", min_length=1, max_length=100, pattern=r"^[\w.-]+$")


class Hub(Section):
    """Publishing"""

    push: bool = setting(
        False, "Publish at the end", "When the run has finished, upload the result to the Hugging Face Hub with your "
        "own token. Needs one that may write; it is never kept.", reference="push_to_hub")
    model_id: str | None = setting(
        None, "Repository", "Its name there, or `owner/name`; empty is named after the run.",
        reference="hub_model_id", max_length=200, pattern=r"^[\w.-]+(/[\w.-]+)?$")
    private: bool = setting(True, "Private", "Only you see a repository that is made for it.")
