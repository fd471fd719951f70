"""Publishing on the Hub, results and data sets, and whose token: a person's own, or the machine owner's where the
machine is theirs alone.

No token is in any text, file, command line or result; it reaches the publishing process by its environment alone.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, TypeVar

from studio import config as config_
from studio import export, messages
from studio.bases import source
from studio.datasets.exports import card as card_
from studio.errors import StudioError
from studio.export.offers import slug
from studio.folders import events
from studio.folders.records import SampleEvent
from studio.folders.runs import Reader, Run
from studio.messages import Message

SECRETS = ("HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "OAUTH_CLIENT_SECRET", "STUDIO_TOKEN")
HIDDEN = "[secret]"
T = TypeVar("T")
_LINKS = re.compile(r"(?<=[?&]token=)[^\s&\"']+|\bhf_(?:oauth|jwt)_[\w.\-]+")


def own_token() -> str | None:
    """The token of the machine's owner: HF_TOKEN, else what `hf auth login` saved.

    Only for a studio that serves its owner alone: on a Space each person's own token is used, never this one.
    """
    given = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if given:
        return given.strip()
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    path = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token")
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def redact(text: str) -> str:
    """`text` without anything that looks like a token, and without the secrets of this server's environment."""
    return messages.changed(text, _redacted)


def _redacted(text: str) -> str:
    for name in SECRETS:
        value = os.environ.get(name)
        if value and len(value) >= 8:
            text = text.replace(value, HIDDEN)
    return events.redact(_LINKS.sub(HIDDEN, text))


def redact_data(data: Any) -> Any:
    """JSON-like `data` with every string in it redacted; keys stay."""
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, dict):
        return {key: redact_data(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [redact_data(value) for value in data]
    return data


# --------------------------------------------------------------------------------------------------------- publishing

MAY_LEAVE = (".safetensors", ".json", ".txt", ".md", ".webp")
WAITS = (2.0, 8.0, 30.0)  # seconds before an upload that failed is tried again
SHOWN = 8  # sample pictures on a model card


class PublishError(StudioError):
    """A result that cannot be published."""

    code = "publish"


def choose(run: Run, weights: str = "", step: int | None = None, precision: str = "fp32") -> list[export.Item]:
    """What a publication of the run holds: a whole pipeline, or every form of a LoRA. Raises PublishError.

    Without `weights` or `step`: the average where there is one, of the newest checkpoint."""
    found = [item for item in export.listing(run) if (item.kind == "pipeline" or item.kind.startswith("lora"))
             and item.precision == precision and step in (None, item.step) and weights in ("", item.weights)]
    if not found:
        raise PublishError(Message("There is no such result in this run to publish."),
                           Message("Wait for the first checkpoint, or choose one of those under Take it home."))
    return [item for item in found if (item.step, item.weights) == (found[0].step, found[0].weights)]


def name_of(run: Run) -> str:
    """The repository's name when none is given."""
    return run.config().hub.model_id or slug(run)


def assemble(run: Run, repo: str, items: list[export.Item], folder: Path) -> None:
    """Write what is published into `folder`: weights, sample pictures, the model card. Raises PublishError."""
    for item in items:
        export.write_item(run, item.path, folder)
    step = items[0].step or 0
    samples = [s for s in Reader().story(run).samples if s.get("weights") == items[0].weights
               and s["step"] <= step and not s.get("requested") and (run.samples / s["file"]).is_file()]
    samples = [s for s in samples if s["step"] == max(s["step"] for s in samples)][:SHOWN]
    (folder / "samples").mkdir()
    for sample in samples:
        shutil.copyfile(run.samples / sample["file"], folder / "samples" / sample["file"])
    (folder / "README.md").write_text(card(run, repo, items, samples), encoding="utf-8")
    strange = [p.name for p in folder.rglob("*") if p.is_file() and p.suffix not in MAY_LEAVE]
    if strange:
        raise PublishError(Message("The base model has files that are not published: {names}.",
                                   names=", ".join(sorted(strange)[:5])),
                           Message("Publish a LoRA, or take a base model with safetensors weights alone."))


class Repository:
    """A repository of the token's owner on the Hub, made where it is not there yet.

    What can pass is tried again, and `waiting` hears why. Everything raises PublishError."""

    def __init__(self, repo: str, kind: Literal["model", "dataset"], *, private: bool, token: str,
                 waiting: Callable[[str], None] = lambda why: None):
        from huggingface_hub import HfApi

        self._api, self._kind, self._name, self._waiting = HfApi(token=token), kind, repo, waiting
        made = self._try(lambda: self._api.create_repo(repo, repo_type=kind, private=private, exist_ok=True))
        self.id, self.url = made.repo_id, str(made)
        self._files: list[Any] = []
        if private and not self._try(lambda: self._api.repo_info(self.id, repo_type=kind)).private:
            raise PublishError(Message("{repo} is there already, and everyone can see it.", repo=self.id),
                               Message("Choose another name, make it private on the Hub, or publish openly."))

    def upload(self, folder: Path, message: str) -> None:
        """Upload every file of `folder`."""
        self._try(lambda: self._api.upload_folder(repo_id=self.id, repo_type=self._kind, folder_path=folder,
                                                  commit_message=message))

    def send(self, name: str, path: Path) -> None:
        """Upload one large file, which appears with `commit`."""
        from huggingface_hub import CommitOperationAdd

        file = CommitOperationAdd(name, path.read_bytes())  # its bytes, since `path` may go before the commit
        self._try(lambda: self._api.preupload_lfs_files(self.id, [file], repo_type=self._kind))
        self._files.append(file)

    def commit(self, name: str, data: bytes, *, replacing: str, message: str) -> None:
        """Let all that was sent appear at once, with one more file; what else fits the pattern `replacing` goes."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        new = [*self._files, CommitOperationAdd(name, data)]
        kept = {file.path_in_repo for file in new}

        def work() -> None:
            there = self._api.list_repo_files(self.id, repo_type=self._kind)
            old = [CommitOperationDelete(path) for path in there if fnmatch(path, replacing) and path not in kept]
            self._api.create_commit(self.id, [*new, *old], commit_message=message, repo_type=self._kind)

        self._try(work)

    def _try(self, work: Callable[[], T]) -> T:
        from huggingface_hub.errors import HfHubHTTPError

        for number, pause in enumerate((*WAITS, None)):
            try:
                return work()
            except HfHubHTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                if status in (401, 403, 404):
                    raise PublishError(Message("The Hub refused the token or the name {name} ({status}).",
                                               name=repr(self._name), status=status),
                                       Message("Use a token that may write to that account, and a name such as "
                                               "`{name}`.", name=f"you/my-{self._kind}")) from None
                if 400 <= status < 500 and status not in (408, 409, 425, 429):
                    raise PublishError(Message("The Hub refused the upload: {why}", why=redact(str(error))[:300]),
                                       Message("Change what it names and publish again.")) from None
                why: Exception = error
            except Exception as error:  # a broken line arrives as one of many kinds of the HTTP client
                why = error
            if pause is None:
                raise PublishError(Message("The Hub could not be reached in {tries} tries: {why}", tries=number + 1,
                                           why=redact(str(why))[:300]),
                                   Message("Look at the connection, and publish again.")) from None
            self._waiting(redact(f"{type(why).__name__}: {str(why)[:200]}"))
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")


def card(run: Run, repo: str, items: list[export.Item], samples: list[SampleEvent]) -> str:
    """The model card: what it is, sample pictures, how to use it, data, settings, base model and licence."""
    from huggingface_hub import ModelCardData

    config, record = run.config(), run.record()
    lora = items[0].kind.startswith("lora")
    base, licence, embedded = _base_of(config)
    facts = ModelCardData(
        base_model=base if "/" in base and not embedded else None, license=licence, library_name="diffusers",
        pipeline_tag="text-to-image", tags=["text-to-image", "diffusers", *(["lora"] if lora else [])])
    dataset = record.get("dataset") or {}
    use = (f'pipeline.load_lora_weights("{repo}", weight_name="pytorch_lora_weights.safetensors")' if lora else
           f'pipeline = DiffusionPipeline.from_pretrained("{repo}")')
    pictures = [f"| ![sample](samples/{s['file']}) | {_plain(s['prompt'])} | {s['seed']} |" for s in samples]
    settings = [f"| `{section}.{name}` | {_plain(_public(value))} |"
                for section, values in config_.dump(config).items() if isinstance(values, dict)
                for name, value in values.items() if value not in (None, [], "")]
    return "\n".join([
        "---", facts.to_yaml(), "---", "", f"# {_plain(record['name'])}", "",
        f"{'A LoRA for' if lora else 'A fine-tune of'} {_plain(base)}: the {items[0].weights.upper()} weights of step "
        f"{items[0].step}, in safetensors alone.", "",
        *(["| picture | prompt | seed |", "|---|---|---|", *pictures, ""] if pictures else []),
        "## Use", "", "```python", "from diffusers import DiffusionPipeline", "",
        *([f'pipeline = DiffusionPipeline.from_pretrained("{base}")'] if lora else []), use, "```", "",
        "## Data", "", f"{_plain(str(dataset.get('name', 'unnamed')))}: {dataset.get('count', 0)} pictures, "
        f"fingerprint `{dataset.get('fingerprint', '')}`.", "",
        "## Base model and licence", "", f"{_plain(base)}; licence: "
        f"{licence or 'not stated by the base; ask its authors before you pass this on'}.", "",
        "## Settings", "", "| setting | value |", "|---|---|", *settings, ""])


def _base_of(config: config_.Config) -> tuple[str, str | None, bool]:
    """The base's public name, its licence where its own model card states one, and whether it is the embedded one."""
    from huggingface_hub import ModelCard

    name, embedded = config.model.base, config.model.base == "embedded"
    found = source.locate(name, config.model.revision, config.model.variant)
    licence = None
    if found is not None and (found.folder / "README.md").is_file():
        data = ModelCard((found.folder / "README.md").read_text(encoding="utf-8"), ignore_metadata_errors=True).data
        licence = data.to_dict().get("license")
    shown = "the studio's embedded base" if embedded else name if found is None or name.count("/") == 1 and not Path(
        name).exists() else Path(name).name
    return shown, licence if isinstance(licence, str) else None, embedded


def _public(value: Any) -> str:
    """A setting's value without this machine's folders."""
    if isinstance(value, list):
        return "; ".join(_public(part) for part in value)
    return Path(value).name if isinstance(value, str) and value.startswith(("/", "~")) else str(value)


def _plain(text: str) -> str:
    """Somebody's text in a model card: one line in which nothing is markup."""
    return card_.plain(redact(text))
