"""Publishing on the Hub, results and data sets, and whose token: a person's own, or the machine owner's where the
machine is theirs alone.

No token is in any text, file, command line or result; it reaches the publishing process by its environment alone.
"""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from studio import config as config_
from studio import export, families, secrets
from studio.bases import source
from studio.datasets.exports import card as card_
from studio.errors import StudioError
from studio.export.offers import slug
from studio.folders.runs import EventReader, Run
from studio.messages import Message
from studio.system import retry

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

T = TypeVar("T")


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
    def fits(item: export.Item) -> bool:
        whole = item.kind == "pipeline" or item.kind.startswith("lora")
        return whole and item.precision == precision and step in (None, item.step) and weights in ("", item.weights)

    fitting = list(filter(fits, export.listing(run)))
    if not fitting:
        raise PublishError(Message("There is no such result in this run to publish."),
                           Message("Wait for the first checkpoint, or choose one of those under Take it home."))
    first = fitting[0]
    return [item for item in fitting if (item.step, item.weights) == (first.step, first.weights)]


def name_of(run: Run) -> str:
    """The repository's name when none is given."""
    return run.config().hub.model_id or slug(run)


def assemble(run: Run, repo: str, items: list[export.Item], folder: Path) -> None:
    """Write what is published into `folder`: weights, sample pictures, the model card. Raises PublishError."""
    for item in items:
        export.write_item(run, item.path, folder)
    samples = _shown_samples(run, items[0])
    (folder / "samples").mkdir()
    for sample in samples:
        shutil.copyfile(run.samples / sample.file, folder / "samples" / sample.file)
    (folder / "README.md").write_text(card(run, repo, items, samples), encoding="utf-8")
    strange = [path.name for path in folder.rglob("*") if path.is_file() and path.suffix not in MAY_LEAVE]
    if strange:
        raise PublishError(Message("The base model has files that are not published: {names}.",
                                   names=", ".join(sorted(strange)[:5])),
                           Message("Publish a LoRA, or take a base model with safetensors weights alone."))


class _Sample(NamedTuple):
    """A sample picture of a run, as a model card shows it."""

    file: str
    prompt: str
    seed: int


def _shown_samples(run: Run, item: export.Item) -> list[_Sample]:
    """At most SHOWN pictures drawn with the item's weights at the last step up to its own; none that were asked for."""
    drawn = []
    for event in EventReader().history(run).samples:
        if event.get("weights") != item.weights or event["step"] > (item.step or 0) or event.get("requested"):
            continue
        if (run.samples / event["file"]).is_file():
            drawn.append(event)
    last = max(map(itemgetter("step"), drawn), default=0)
    newest = [event for event in drawn if event["step"] == last]
    return [_Sample(event["file"], event["prompt"], event["seed"]) for event in newest[:SHOWN]]


class Repository:
    """A repository of the token's owner on the Hub, made where it is not there yet.

    What can pass is tried again, and `waiting` hears why. Everything raises PublishError."""

    def __init__(self, repo: str, kind: Literal["model", "dataset"], *, private: bool, token: str,
                 waiting: Callable[[str], None] = lambda why: None):
        from huggingface_hub import HfApi

        self._api = HfApi(token=token)
        self._kind: Literal["model", "dataset"] = kind
        self._name = repo
        self._waiting = waiting
        self._files: list[CommitOperationAdd] = []
        url = self._try(lambda: self._api.create_repo(repo, repo_type=kind, private=private, exist_ok=True))
        self.id = url.repo_id
        self.url = str(url)
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
        new_paths = {file.path_in_repo for file in new}

        def work() -> None:
            replaced = fnmatch.filter(self._api.list_repo_files(self.id, repo_type=self._kind), replacing)
            old = [CommitOperationDelete(path) for path in replaced if path not in new_paths]
            self._api.create_commit(self.id, [*new, *old], commit_message=message, repo_type=self._kind)

        self._try(work)

    def _try(self, work: Callable[[], T]) -> T:
        """What `work` returns, in one try more than there are WAITS. Raises PublishError."""
        try:
            return retry.patiently(work, WAITS, retry.hub_error_may_pass, self._tell_of)
        except (TypeError, AttributeError, NameError):  # a mistake of ours, which the Hub never saw
            raise
        except Exception as error:
            raise self._refusal(error) from None

    def _tell_of(self, error: BaseException) -> None:
        """Let whoever waits hear why there is another try."""
        self._waiting(secrets.redact(f"{type(error).__name__}: {str(error)[:200]}"))

    def _refusal(self, error: Exception) -> PublishError:
        """What the last try ended with, in words."""
        from huggingface_hub.errors import HfHubHTTPError

        why = secrets.redact(str(error))[:300]
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            status = error.response.status_code
            if status in (401, 403, 404):
                return PublishError(Message("The Hub refused the token or the name {name} ({status}).",
                                            name=repr(self._name), status=status),
                                    Message("Use a token that may write to that account, and a name such as "
                                            "`{name}`.", name=f"you/my-{self._kind}"))
            if not retry.may_pass(status):
                return PublishError(Message("The Hub refused the upload: {why}", why=why),
                                    Message("Change what it names and publish again."))
        return PublishError(Message("The Hub could not be reached in {tries} tries: {why}", tries=len(WAITS) + 1,
                                    why=why),
                            Message("Look at the connection, and publish again."))


def card(run: Run, repo: str, items: list[export.Item], samples: list[_Sample]) -> str:
    """The model card: what it is, sample pictures, how to use it, data, settings, base model and licence."""
    from huggingface_hub import ModelCardData

    config = run.config()
    record = run.record()
    base = _base_of(config)
    facts = ModelCardData(base_model=base.hub_id, license=base.licence, library_name="diffusers",
                          pipeline_tag="text-to-image", tags=["text-to-image", "diffusers"])
    what = "A fine-tune of"
    use = [f'pipeline = DiffusionPipeline.from_pretrained("{repo}")']
    if items[0].kind.startswith("lora"):
        facts.tags = ["text-to-image", "diffusers", "lora"]
        what = "A LoRA for"
        use = [f'pipeline = DiffusionPipeline.from_pretrained("{base.name}")',
               f'pipeline.load_lora_weights("{repo}", weight_name="pytorch_lora_weights.safetensors")']
    dataset = record.get("dataset") or {}
    licence = base.licence or "not stated by the base; ask its authors before you pass this on"
    return "\n".join([
        "---", facts.to_yaml(), "---", "", f"# {_plain(record['name'])}", "",
        f"{what} {_plain(base.name)}: the {items[0].weights.upper()} weights of step "
        f"{items[0].step}, in safetensors alone.", "",
        *_sample_rows(samples),
        "## Use", "", "```python", "from diffusers import DiffusionPipeline", "", *use, "```", "",
        "## Data", "", f"{_plain(str(dataset.get('name', 'unnamed')))}: {dataset.get('count', 0)} pictures, "
        f"fingerprint `{dataset.get('fingerprint', '')}`.", "",
        "## Base model and licence", "", f"{_plain(base.name)}; licence: {licence}.", "",
        "## Settings", "", "| setting | value |", "|---|---|", *_setting_rows(config), ""])


def _sample_rows(samples: list[_Sample]) -> list[str]:
    """A table of the pictures in Markdown; nothing of none."""
    if not samples:
        return []
    rows = [f"| ![sample](samples/{sample.file}) | {_plain(sample.prompt)} | {sample.seed} |" for sample in samples]
    return ["| picture | prompt | seed |", "|---|---|---|", *rows, ""]


def _setting_rows(config: config_.Config) -> Iterator[str]:
    """A row in Markdown for each setting that is not empty."""
    for section, values in config_.dump(config).items():
        if isinstance(values, dict):
            for name, value in values.items():
                if value not in (None, [], ""):
                    yield f"| `{section}.{name}` | {_plain(_public(value))} |"


class _Base(NamedTuple):
    """What a model card says of the base: its public name, its id on the Hub, the licence of its own model card."""

    name: str
    hub_id: str | None
    licence: str | None


def _base_of(config: config_.Config) -> _Base:
    """The base as it is told to strangers; a folder of this machine goes by its last name alone."""
    name = config.model.base
    files = source.locate(name, config.model.revision, config.model.variant)
    licence = _licence(files)
    if name == "embedded":
        return _Base("the studio's embedded base", None, licence)
    public = name
    if files is not None and (name.count("/") != 1 or Path(name).exists()):
        public = Path(name).name
    if "/" in public:
        return _Base(public, public, licence)
    return _Base(public, None, licence)


def _licence(base: families.Source | None) -> str | None:
    """The licence that the base's own model card states."""
    from huggingface_hub import ModelCard

    if base is None or not (base.folder / "README.md").is_file():
        return None
    text = (base.folder / "README.md").read_text(encoding="utf-8")
    licence = ModelCard(text, ignore_metadata_errors=True).data.to_dict().get("license")
    if isinstance(licence, str):
        return licence
    return None


def _public(value: object) -> str:
    """A setting's value without this machine's folders."""
    if isinstance(value, list):
        return "; ".join(map(_public, value))
    if isinstance(value, str) and value.startswith(("/", "~")):
        return Path(value).name
    return str(value)


def _plain(text: str) -> str:
    """Somebody's text in a model card: one line in which nothing is markup."""
    return card_.plain(secrets.redact(text))
