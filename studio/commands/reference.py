"""A pasted command line of one of diffusers' training scripts as a config that trains the same.

Read are `train_text_to_image.py`, its LoRA sibling, and the DreamBooth scripts that a family says train it. Which
setting an option becomes is read from the settings' own `reference` names; what has no place is listed with the reason.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections import deque
from itertools import chain, dropwhile
from typing import NamedTuple, TypedDict

from studio import config as config_
from studio import families
from studio.commands import commandline
from studio.commands import options as scripts
from studio.commands.commandline import MOST_CHARACTERS, PLACEHOLDER, VARIABLE, CommandError
from studio.commands.options import COMMENT, OUTPUT, SECRET, SECRET_NAME, TO_FILL, WHY, Script, count, without_secrets
from studio.config import PlainConfig, SettingSchema
from studio.messages import Message

Options = dict[str, object]  # what a command says, by the options' names
PROMPTS = ("validation_prompts", "validation_prompt")  # what people write there may look like a placeholder
_TO_FILL = re.compile(r"path[-_/ ]to[-_/ ]|(?:^|[-_/ ])your[-_ ]|^x{3,}$|^\.\.\.$", re.IGNORECASE)
_OTHERS = ("sdxl", "flax", "prior", "decoder", "decoders")


class Unplaced(TypedDict):
    """An option that became no setting, and why."""

    option: str
    value: object
    why: str


class ConfigFromCommand(TypedDict):
    """What a command line became: a partial config, and what has no place in it."""

    config: PlainConfig
    unplaced: list[Unplaced]


class Command(NamedTuple):
    """A command in its words: the launcher's options, the script, the script's own words."""

    launcher: list[str]
    script: Script
    words: list[str]


def from_command(text: str) -> ConfigFromCommand:
    """The partial config of a pasted command line, and what of it has no place.

    It is read as a shell reads it (`commandline`), with `accelerate launch` or `torchrun` before the script. Raises
    CommandError."""
    if len(text) > MOST_CHARACTERS:
        raise CommandError(Message("it is longer than {length:,} characters", length=MOST_CHARACTERS))
    reading = _Conversion()
    command = _command(text, reading)
    options = dict(scripts.read_options(command.words, command.script.options, reading.leave))
    reading.launcher(command.launcher)
    _place(options, command.script, reading)
    return {"config": _acceptable(reading), "unplaced": reading.unplaced}


class _Conversion:
    """What has been understood so far."""

    def __init__(self) -> None:
        self.by_path = config_.by_path()
        self.by_reference = {field["reference"]: field for field in self.by_path.values() if field["reference"]}
        self.values: dict[str, tuple[str, object]] = {}  # path -> the option it came from, and its value
        self.variables = commandline.Variables()
        self.unplaced: list[Unplaced] = []

    def leave(self, option: str, value: object, why: str) -> None:
        """Note what has no place."""
        self.unplaced.append({"option": option, "value": value, "why": why})

    def put(self, option: str, path: str, value: object) -> None:
        """Set a setting from an option, as the setting's type; a setting this version lacks leaves it unplaced."""
        field = self.by_path.get(path)
        if field is None:
            self.leave(option, value, Message("this version has no such setting"))
            return
        typed = _typed(value, field["kind"])
        if isinstance(typed, float) and not math.isfinite(typed):
            self.leave(option, value, Message("it is no number"))
        else:
            self.values[path] = (option, typed)

    def launcher(self, words: list[str]) -> None:
        """What stands between the launcher and the script. A word after an option is its value unless it is one too."""
        rest: deque[str] = deque()
        for word in words:
            rest.extend(word.split("=", 1))
        while rest:
            name = rest.popleft().lstrip("-").replace("-", "_")
            value: str | bool = True
            if rest and not rest[0].startswith("-"):
                value = rest.popleft()
            if name in scripts.LAUNCHER:
                self.put(f"--{name}", scripts.LAUNCHER[name], value)
            else:
                self.leave(f"--{name}", value,
                           Message("the studio starts accelerate with a config of its own for each run"))


def _typed(value: object, kind: str) -> object:
    """The value of an option as a setting of this kind has it; NaN for what should be a number and is none."""
    if kind not in ("int", "float"):
        return value
    if not isinstance(value, str | int | float):
        return math.nan
    try:
        if kind == "int":
            return int(value)
        return float(value)
    except ValueError:
        return math.nan


# ------------------------------------------------------------------------------------------------ text to words


def _command(text: str, reading: _Conversion) -> Command:
    """The first command in the text that trains something; variables are put in on the way. Raises CommandError."""
    statements, comments = commandline.statements(text)
    first_error = None
    for statement in statements:
        written, variables = commandline.assigned(statement, reading.variables)
        if written:
            _leave_variables(variables, reading)
        words = list(chain.from_iterable(map(reading.variables.expand, written)))
        try:
            command = _script_of(words)
        except CommandError as error:  # perhaps the next one is the command that is meant
            first_error = first_error or error
            continue
        if command:
            _leave_comments(comments, reading)
            return command
    if first_error:
        raise first_error
    raise CommandError(
        Message("this is no command of train_text_to_image.py or train_text_to_image_lora.py: paste the whole line, "
                "from `accelerate launch` or the script's name on"))


def _leave_comments(comments: list[str], reading: _Conversion) -> None:
    """List where output goes, and options that were commented out, as unplaced."""
    for comment in comments:
        if comment[0] == ">":
            reading.leave(">", comment[2:], OUTPUT)
        elif "--" in comment:
            reading.leave("#", without_secrets(comment[2:]), COMMENT)


def _leave_variables(values: dict[str, str], reading: _Conversion) -> None:
    """List the variables of a command itself as unplaced."""
    for variable, value in values.items():
        if SECRET_NAME.search(variable):
            reading.leave(variable, SECRET, WHY["hub_token"])
        else:
            reading.leave(variable, value, Message("set it in the environment in which the studio starts"))


def _script_of(words: list[str]) -> Command | None:
    """The command that these words are; None when this statement trains nothing. Raises CommandError."""
    if words and words[0].startswith("--"):
        return Command([], scripts.PLAIN["train_text_to_image.py"], words)  # the options alone
    for place, word in enumerate(words):
        if word.endswith(".py"):
            launcher = list(dropwhile(_is_no_option, words[:place]))
            return Command(launcher, _named(re.split(r"[/\\]", word)[-1]), words[place + 1 :])
    return None


def _is_no_option(word: str) -> bool:
    return not word.startswith("-")


def _known_scripts() -> dict[str, Script]:
    """The scripts that are read here, by file name: the plain ones, and those that a family names."""
    known = dict(scripts.PLAIN)
    for family in map(families.get, families.names()):
        for name, defaults in family.scripts.items():
            known[f"{name}.py"] = scripts.of_flow(name, defaults)
    return known


def _named(name: str) -> Script:
    """The script of that file name, or of a name made of it. Raises CommandError."""
    known = _known_scripts()
    if name in known:
        return known[name]
    if "train_text_to_image" not in name or any(other in name for other in _OTHERS):
        *others, last = known
        raise CommandError(Message("{script} is another script: this reads {scripts} and {last}", script=name[:100],
                                   scripts=", ".join(others), last=last))
    if "lora" in name:
        return known["train_text_to_image_lora.py"]
    return known["train_text_to_image.py"]


# ----------------------------------------------------------------------------------------------- words to settings


def _place(options: Options, script: Script, reading: _Conversion) -> None:
    """Every option in its setting: what was given, and the script's own default where it is another than here."""
    if "pretrained_model_name_or_path" not in options:
        reading.leave("--pretrained_model_name_or_path", None, Message("the command names no model: choose the base"))
    method = "full"
    if script.lora:
        method = "lora"
    reading.values["model.method"] = ("", method)
    if "use_ema" not in script.options:
        reading.values["ema.enabled"] = ("", False)
    if script.flow:
        _of_flow(options, script, reading)
    _unlike(options, reading)
    for name, option in script.options.items():
        field = reading.by_reference.get(name) or reading.by_path.get(scripts.PLACES.get(name, ""))
        if name in options:
            _place_given(name, options[name], field, reading)
        elif field is not None:
            value = _meant(name, option.default, field)
            if value is not None and value != field["default"]:
                reading.put(f"--{name}", field["path"], value)


def _place_given(name: str, value: object, field: SettingSchema | None, reading: _Conversion) -> None:
    """An option of the command in its setting `field`, or among the unplaced."""
    if name == "hub_token":
        reading.leave(f"--{name}", SECRET, WHY[name])
    elif isinstance(value, str) and _is_unset(name, value):
        why = TO_FILL
        if VARIABLE.fullmatch(value):
            why = Message("the command uses this variable without saying what it is")
        reading.leave(f"--{name}", value, why)
    elif field is None:
        reading.leave(f"--{name}", value, WHY.get(name, "this version has no such setting"))
    else:
        if _is_to_fill(value):
            reading.leave(f"--{name}", value, TO_FILL)
        meant = _meant(name, value, field)
        if meant is not None:
            reading.put(f"--{name}", field["path"], meant)


def _meant(name: str, value: object, field: SettingSchema) -> object:
    """An option's value as its setting has it: some flags stand for one of its choices."""
    if name not in scripts.MEANS:
        return value
    if value:
        return scripts.MEANS[name]
    return field["default"]


def _of_flow(options: Options, script: Script, reading: _Conversion) -> None:
    """What only the scripts of flow models say in different words; consumes or rewrites those `options`."""
    _times(options, script, reading)
    if options.get("train_text_encoder"):
        options.setdefault("text_encoder_lr", 5e-6)
    else:
        rate = options.pop("text_encoder_lr", None)
        if rate:
            reading.leave("--text_encoder_lr", rate, Message("no text encoder learns here, in the script neither"))
    optimizer = str(options.pop("optimizer", "adamw"))
    if optimizer.lower() == "prodigy":
        options.pop("use_8bit_adam", None)
        reading.put("--optimizer", "optim.name", "prodigy")
    elif optimizer.lower() != "adamw":
        reading.leave("--optimizer", optimizer, Message("there are: adamw, prodigy"))
    if "repeats" in options:
        _repeats(options, reading)


def _repeats(options: Options, reading: _Conversion) -> None:
    """`--repeats` as so many times the epochs."""
    repeats = options.pop("repeats")
    often = count(str(repeats))
    epochs = count(str(options.get("num_train_epochs", 1)))
    if not often or not epochs:
        reading.leave("--repeats", repeats, Message("it is no number from 1 on, or the epochs are none"))
    elif "max_train_steps" in options:
        reading.leave("--repeats", repeats, Message("the steps decide, as in the script"))
    else:
        options["num_train_epochs"] = often * epochs


def _times(options: Options, script: Script, reading: _Conversion) -> None:
    """How often each noise level is learnt. The scripts draw a place in a table that begins with noise alone, so that a
    positive mean is LESS noise there: here it has the other sign. The density `mode` is its own mirror image."""
    scheme = options.get("weighting_scheme", script.options["weighting_scheme"].default)
    if scheme in ("sigma_sqrt", "cosmap"):
        reading.leave("--weighting_scheme", scheme,
                      Message("every noise level weighs the same here; their times are uniform"))
    options["weighting_scheme"] = scheme
    if scheme in ("none", "sigma_sqrt", "cosmap"):
        options["weighting_scheme"] = "uniform"
    for name, (reader, default) in scripts.FLOW_TIMES.items():
        if scheme == reader:
            options.setdefault(name, default)
        elif name in options:
            reading.leave(f"--{name}", options.pop(name),
                          Message("only --weighting_scheme={scheme} reads it, in the script too", scheme=reader))
    mean = _typed(options.get("logit_mean"), "float")
    if isinstance(mean, float) and math.isfinite(mean):
        options["logit_mean"] = 0.0 - mean


def _unlike(options: Options, reading: _Conversion) -> None:
    """What the script and the studio say in different words; consumes those `options`."""
    _prompt(options, reading)
    if "max_train_steps" in options:
        epochs = options.pop("num_train_epochs", None)
        if epochs:
            reading.leave("--num_train_epochs", epochs, Message("the steps decide, as in the script"))
        options["num_train_epochs"] = None
    _warmup(options, reading)
    if "mixed_precision" not in options and "train.mixed_precision" not in reading.values:
        options["mixed_precision"] = "no"
    _trackers(options, reading)


def _prompt(options: Options, reading: _Conversion) -> None:
    """`--validation_prompt`, of which `--num_validation_images` are drawn (4), as that many sample prompts."""
    prompt = options.pop("validation_prompt", None)
    images = options.pop("num_validation_images", None)
    if prompt:
        many = 4
        if images is not None:
            many = count(str(images))
        if many is None:
            many = 1
        reading.put("--validation_prompt", "sample.prompts", [prompt] * min(64, many))
    elif images:
        reading.leave("--num_validation_images", images, Message("the command has no prompt to draw"))


def _warmup(options: Options, reading: _Conversion) -> None:
    """`--lr_warmup_steps`, as far as the schedule has a warm-up and the run has more steps."""
    if options.get("lr_scheduler", "constant") == "constant":
        warmup = options.pop("lr_warmup_steps", "0")
        if warmup != "0":
            reading.leave("--lr_warmup_steps", warmup,
                          Message("the constant schedule has no warm-up, in the script neither"))
        options["lr_warmup_steps"] = 0
    warmup = str(options.get("lr_warmup_steps", 500))
    steps = str(options.get("max_train_steps", ""))
    if (count(warmup) or 0) >= (count(steps) or math.inf):
        reading.leave("--lr_warmup_steps", warmup, Message("it leaves nothing of a run of {steps} steps", steps=steps))
        options["lr_warmup_steps"] = None


def _trackers(options: Options, reading: _Conversion) -> None:
    """`--report_to` as the trackers that there are."""
    asked = options.get("report_to", "tensorboard")
    known = reading.by_reference["report_to"]["choices"] or []
    if asked == "all":  # as accelerate means it: those that are installed
        options["report_to"] = [name for name in known if importlib.util.find_spec(name) is not None]
        return
    names = list(filter(None, map(str.strip, str(asked).split(","))))
    options["report_to"] = [name for name in names if name in known]
    for name in names:
        if name not in (*known, "none"):
            reading.leave("--report_to", name, Message("there are: {names}", names=", ".join(known)))


def _is_unset(name: str, value: str) -> bool:
    """Whether a value holds what only a shell, or the person, could have filled in."""
    return name not in PROMPTS and PLACEHOLDER.search(value) is not None


def _is_to_fill(value: object) -> bool:
    """Whether a value may be one to fill in: a path/to/something, or a prompt with a variable in it."""
    if isinstance(value, list):
        return any(isinstance(text, str) and PLACEHOLDER.search(text) for text in value)
    return isinstance(value, str) and _TO_FILL.search(value) is not None


def _acceptable(reading: _Conversion) -> PlainConfig:
    """The values as a partial config that loads; what its checks refuse joins the unplaced with their reason."""
    while True:
        config = config_.nested({path: value for path, (_, value) in reading.values.items()})
        try:
            config_.load(config)
            return config
        except config_.ConfigError as error:
            # a list has a fault for each bad item: the last is told
            refused = {problem.field: problem.message for problem in error.problems if problem.field in reading.values}
            if not refused:
                raise CommandError(str(error)[:500]) from None
            for field, message in refused.items():
                option, value = reading.values.pop(field)
                reading.leave(option, value, message)
