"""A job: a model suggests captions for pictures of a data set; they wait there until a person applies them.

Arguments: {dataset, model, prompt, max_new_tokens, pids} (pids null: all pictures). `model` is a folder or a Hub id of
any class that transformers loads for image-text-to-text (BLIP, GIT, Florence-2, LLaVA, Qwen-VL, SmolVLM, ...), or of a
vision encoder with a text decoder; from safetensors alone, and never with code of the repository.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from PIL import Image

from studio import datasets
from studio.datasets.text import suggestions
from studio.jobs.running import JobError, RunningJob
from studio.messages import JsonObject, Message
from studio.system import lean

if TYPE_CHECKING:
    from transformers import BatchFeature, PreTrainedTokenizerBase
    from transformers.image_processing_utils import BaseImageProcessor


class Loading(TypedDict):
    """How everything of a captioning model is loaded: none of its repository's code is run."""

    trust_remote_code: bool
    local_files_only: bool


LOADING: Loading = {"trust_remote_code": False, "local_files_only": True}
FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
PROMPT = "Describe this picture in one sentence, as a caption."
KEEP = 8  # pictures between two savings
HINT = Message("Choose a captioning model with safetensors weights of a class that transformers has.")


def main(job: RunningJob) -> None:
    """Caption picture by picture, keeping what is done, so that a cancelled job leaves its suggestions."""
    job.phase("loading")
    dataset = datasets.find(job.home, job.args["dataset"])
    captioner = Captioner(_folder(job.args["model"]), job.args["prompt"], job.args["max_new_tokens"])
    pids = [row["pid"] for row in dataset.rows()]
    if job.args["pids"] is not None:
        pids = list(filter(set(job.args["pids"]).__contains__, pids))
    new: list[JsonObject] = []  # suggestions
    try:
        for done, pid in enumerate(pids):
            job.phase("captioning", done, len(pids), "pictures")
            caption = captioner.caption(dataset.picture(pid))
            if caption:
                new.append({"pid": pid, "caption": caption, "model": job.args["model"]})
            if len(new) >= KEEP:
                suggestions.add(dataset, new)
                new = []
    finally:
        suggestions.add(dataset, new)
    job.phase("captioning", len(pids), len(pids), "pictures")


class Captioner:
    """A captioning model on the accelerator, or on the CPU where there is none."""

    def __init__(self, folder: Path, prompt: str, most: int):
        lean.stand_in_for_compiler()
        from transformers import AutoTokenizer
        from transformers.models.auto.image_processing_auto import AutoImageProcessor
        from transformers.models.auto.processing_auto import AutoProcessor

        self.prompt = prompt
        self.most = most  # tokens of a caption
        self.device = torch.device("cpu")
        if torch.cuda.is_available():
            self.device = torch.device("cuda")
        try:
            self.model = _model(folder).eval().to(self.device)  # type: ignore[arg-type]
            # what it is called with, and what it returns, differs from one class of models to the next
            self.processor: Any = AutoProcessor.from_pretrained(folder, **LOADING)
            if not hasattr(self.processor, "tokenizer"):
                self.processor = _Pair(AutoImageProcessor.from_pretrained(folder, **LOADING),
                                       AutoTokenizer.from_pretrained(folder, **LOADING))
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise JobError(Message("{model} cannot be loaded for captioning: {why}", model=folder.name,
                                   why=str(error).splitlines()[0][:300]), HINT, "captioning_model") from error

    @torch.inference_mode()
    def caption(self, path: Path) -> str:
        """The caption of the picture in `path`, as one line."""
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        chats = bool(getattr(self.processor, "chat_template", None))
        if chats:
            inputs = self._question(image)
        elif self.prompt:
            inputs = self.processor(images=image, return_tensors="pt", text=self.prompt)
        else:
            inputs = self.processor(images=image, return_tensors="pt")
        inputs = dict(inputs.to(self.device).items())
        if self.device.type == "cuda":  # where the model is in bf16
            for name, tensor in inputs.items():
                if torch.is_floating_point(tensor):
                    inputs[name] = tensor.to(self.model.dtype)
        tokens = self.model.generate(**inputs, max_new_tokens=self.most, do_sample=False)[0]
        if chats:  # the answer follows the question
            tokens = tokens[inputs["input_ids"].shape[1] :]
        return " ".join(self.processor.tokenizer.decode(tokens, skip_special_tokens=True).split())

    def _question(self, image: Image.Image) -> BatchFeature:
        """The picture and the prompt as a chat that the model goes on with."""
        content = [{"type": "image", "image": image}, {"type": "text", "text": self.prompt or PROMPT}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt")


class _Pair:
    """An image processor and a tokenizer as one, for a vision encoder with a text decoder, which has no processor."""

    chat_template = None

    def __init__(self, images: BaseImageProcessor, tokenizer: PreTrainedTokenizerBase):
        self.images = images
        self.tokenizer = tokenizer

    def __call__(self, images: Image.Image, return_tensors: str, text: str = "") -> BatchFeature:
        if text:
            raise JobError(Message("This model takes no prompt."),
                           Message("Leave the prompt empty, then start it again."))
        return self.images(images=images, return_tensors=return_tensors)


def _model(folder: Path) -> Any:
    """The model, with a `generate`, which is missing in transformers' hints."""
    from transformers.models.auto.modeling_auto import AutoModelForImageTextToText

    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, dtype=dtype, **LOADING)


def _folder(model: str) -> Path:
    """The model's files on this machine, downloaded where they are missing. Raises JobError."""
    if model.startswith(("/", "~")):
        path = Path(model).expanduser()
        if not (path / "config.json").is_file():
            raise JobError(Message("{model} is no folder of a transformers model: it has no config.json.", model=model),
                           HINT, "captioning_model")
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=FILES, token=os.environ.get("HF_TOKEN") or False))
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, ConnectionError) as error:
        raise JobError(Message("{model} could not be fetched from the Hub: {why}", model=model,
                               why=str(error).splitlines()[0][:300]),
                       Message("Check the name and the network; a private or gated model needs a token that may read "
                               "it."), "captioning_model") from error
