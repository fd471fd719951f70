"""A pasted command line of one of diffusers' training scripts as a config that trains the same.

Read are `train_text_to_image.py`, its LoRA sibling, and the DreamBooth scripts that a family says train it. Which
setting an option becomes is read from the settings' own `reference` names; what has no place is listed with the reason.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from studio import config as config_
from studio import families
from studio.commands import commandline, options
from studio.commands.commandline import MOST_CHARACTERS, PLACEHOLDER, VARIABLE, CommandError
from studio.commands.options import COMMENT, FLAG, MANY, NO_OPTION, ONE, OUTPUT, TO_FILL, WHY, Option, Script
from studio.messages import Message

SECRET = "[secret]"
MOST_DIGITS = 12  # of a count
NOT_HERE = Message("the script has no such option")
LAUNCHER = {"mixed_precision": "train.mixed_precision", "num_processes": "compute.num_processes",
            "nproc_per_node": "compute.num_processes", "num_cpu_threads_per_process": "compute.num_threads",
            "num_machines": "compute.num_machines", "zero_stage": "compute.deepspeed_stage"}
PROMPTS = ("validation_prompts", "validation_prompt")  # what people write there may look like a placeholder
TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_TO_FILL = re.compile(r"path[-_/ ]to[-_/ ]|(?:^|[-_/ ])your[-_ ]|^x{3,}$|^\.\.\.$", re.IGNORECASE)
_SECRET = re.compile("token|key|secret|password", re.IGNORECASE)
_OTHERS = ("sdxl", "flax", "prior", "decoder", "decoders")


def from_command(text: str) -> dict[str, Any]:
    """{"config": a partial config, "unplaced": [{"option", "value", "why"}]} of a pasted command line.

    It is read as a shell reads it (`commandline`), with `accelerate launch` or `torchrun` before the script. Raises
    CommandError."""
    if len(text) > MOST_CHARACTERS:
        raise CommandError(Message("it is longer than {length:,} characters", length=MOST_CHARACTERS))
    reading = _Reading()
    launcher, script, words = _command(text, reading)
    given = dict(_options(words, script.options, reading))
    reading.launcher(launcher)
    _place(given, script, reading)
    return {"config": _acceptable(reading), "unplaced": reading.unplaced}


class _Reading:
    """What has been understood so far."""

    def __init__(self) -> None:
        fields = [f for section in config_.schema()["sections"] for f in section["fields"]]
        self.by_path = {f["path"]: f for f in fields}
        self.by_reference = {f["reference"]: f for f in fields if f["reference"]}
        self.values: dict[str, tuple[str, Any]] = {}  # path -> the option it came from, and its value
        self.variables = commandline.Variables()
        self.unplaced: list[dict[str, Any]] = []

    def leave(self, option: str, value: Any, why: str) -> None:
        """Note what has no place."""
        self.unplaced.append({"option": option, "value": value, "why": why})

    def put(self, option: str, path: str, value: Any) -> None:
        """Set a setting from an option, as the setting's type; a setting this version lacks leaves it unplaced."""
        field = self.by_path.get(path)
        if field is None:
            self.leave(option, value, Message("this version has no such setting"))
            return
        try:
            number = {"int": int, "float": float}.get(field["kind"])
            read = number(value) if number else value
        except (TypeError, ValueError):
            read = math.nan
        if isinstance(read, float) and not math.isfinite(read):
            self.leave(option, value, Message("it is no number"))
        else:
            self.values[path] = option, read

    def launcher(self, words: list[str]) -> None:
        """What stands between the launcher and the script. A word after an option is its value unless it is one too."""
        rest = deque(part for word in words for part in word.split("=", 1))
        while rest:
            name = rest.popleft().lstrip("-").replace("-", "_")
            value: Any = rest.popleft() if rest and not rest[0].startswith("-") else True
            if name in LAUNCHER:
                self.put(f"--{name}", LAUNCHER[name], value)
            else:
                self.leave(f"--{name}", value,
                           Message("the studio starts accelerate with a config of its own for each run"))


# ------------------------------------------------------------------------------------------------ text to words


def _command(text: str, reading: _Reading) -> tuple[list[str], Script, list[str]]:
    """The launcher's options, the script and the script's own words; variables are put in on the way."""
    found, comments = commandline.statements(text)
    other = None
    for statement in found:
        left, own = commandline.assigned(statement, reading.variables)
        if left:
            _leave_variables(own, reading)
        words = [word for written in left for word in reading.variables.expand(written)]
        try:
            command = _script_of(words)
        except CommandError as error:  # perhaps the next one is the command that is meant
            other = other or error
            continue
        if command:
            for comment in comments:
                if comment[0] == ">":
                    reading.leave(">", comment[2:], OUTPUT)
                elif "--" in comment:
                    reading.leave("#", _without_secrets(comment[2:]), COMMENT)
            return command
    raise other or CommandError(
        Message("this is no command of train_text_to_image.py or train_text_to_image_lora.py: paste the whole line, "
                "from `accelerate launch` or the script's name on"))


def _without_secrets(text: str) -> str:
    """A comment without the value of an option that may be a secret."""
    return re.sub(r"(--\w*(?:token|key|secret|password)\w*)([= ]+)\S+", rf"\1\2{SECRET}", text, flags=re.IGNORECASE)


def _leave_variables(own: dict[str, str], reading: _Reading) -> None:
    """List the variables of a command itself as unplaced."""
    for variable, value in own.items():
        secret = _SECRET.search(variable)
        why = WHY["hub_token"] if secret else Message("set it in the environment in which the studio starts")
        reading.leave(variable, SECRET if secret else value, why)


def _script_of(words: list[str]) -> tuple[list[str], Script, list[str]] | None:
    """Launcher options, script and its words; None when this statement trains nothing. Raises CommandError."""
    if words and words[0].startswith("--"):
        return [], options.PLAIN["train_text_to_image.py"], words  # the options alone
    place = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
    if place is None:
        return None
    script = _named(re.split(r"[/\\]", words[place])[-1])
    first = next((i for i, word in enumerate(words[:place]) if word.startswith("-")), place)
    return words[first:place], script, words[place + 1 :]


def _named(name: str) -> Script:
    """The script of that file name, or of a name made of it. Raises CommandError."""
    known = options.PLAIN | {f"{script}.py": options.of_flow(script, defaults)
                             for family in map(families.get, families.names())
                             for script, defaults in family.scripts.items()}
    if name in known:
        return known[name]
    if "train_text_to_image" not in name or any(other in name for other in _OTHERS):
        *others, last = known
        raise CommandError(Message("{script} is another script: this reads {scripts} and {last}", script=name[:100],
                                   scripts=", ".join(others), last=last))
    return known[f"train_text_to_image{'_lora' if 'lora' in name else ''}.py"]


def _options(words: list[str], known: dict[str, Option], reading: _Reading) -> Iterator[tuple[str, Any]]:
    """The options as argparse reads them: `--name value`, `--name=value`, unique beginnings of a name."""
    rest, before = deque(words), None
    while rest:
        word = rest.popleft()
        if not word.startswith("--"):
            another = Message("--{name} takes one value, and this is another", name=before)
            reading.leave(word, None, another if before else NO_OPTION)
            continue
        written, equals, value = word[2:].partition("=")
        name = _whole(written, known) or _whole(written.replace("-", "_"), known)
        takes = known[name].takes if name else (ONE if equals or (rest and _is_value(rest[0])) else FLAG)
        values = [value] if equals else _values(rest, MANY if name == "report_to" else takes)
        before = name if takes == ONE else None
        if name is None:
            reading.leave(f"--{written}", SECRET if _SECRET.search(written) else (values or [True])[0], NOT_HERE)
        elif takes == FLAG:
            yield from _flag(name, values, rest, reading)
        elif not values:
            reading.leave(f"--{name}", None, Message("its value is missing"))
        else:
            yield name, values if takes == MANY else values[0] if len(values) == 1 else ",".join(values)


def _flag(name: str, values: list[str], rest: deque[str], reading: _Reading) -> Iterator[tuple[str, bool]]:
    """An option without a value; people give it one that says whether it holds."""
    if not values and rest and rest[0].lower() in (*TRUE, *FALSE):
        values = [rest.popleft()]
    said = values[0].lower() if values else "true"
    if said in (*TRUE, *FALSE):
        yield name, said in TRUE
    else:
        reading.leave(f"--{name}", values[0], Message("it takes no value, and this says neither yes nor no"))


def _values(rest: deque[str], takes: str) -> list[str]:
    """The words that follow an option as its values, taken from `rest`; one is whatever follows, as argparse has it."""
    if takes == ONE:
        return [rest.popleft()] if rest else []
    values = []
    while takes == MANY and rest and _is_value(rest[0]):
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


def _whole(given: str, known: dict[str, Option]) -> str | None:
    if given in known:
        return given
    found = [name for name in known if name.startswith(given)]
    return found[0] if len(found) == 1 else None


# ----------------------------------------------------------------------------------------------- words to settings


def _place(given: dict[str, Any], script: Script, reading: _Reading) -> None:
    """Every option in its setting: what was given, and the script's own default where it is another than here."""
    if "pretrained_model_name_or_path" not in given:
        reading.leave("--pretrained_model_name_or_path", None, Message("the command names no model: choose the base"))
    reading.values["model.method"] = "", "lora" if script.lora else "full"
    if "use_ema" not in script.options:
        reading.values["ema.enabled"] = "", False
    if script.flow:
        _of_flow(given, script, reading)
    _unlike(given, script, reading)
    for name, option in script.options.items():
        value = given.get(name, option.default)
        field = reading.by_reference.get(name) or reading.by_path.get(options.PLACES.get(name, ""))
        if name == "hub_token" and name in given:
            reading.leave(f"--{name}", SECRET, WHY[name])
        elif name in given and _is_unset(name, value):
            reading.leave(f"--{name}", value,
                          Message("the command uses this variable without saying what it is")
                          if VARIABLE.fullmatch(value) else TO_FILL)
        elif field is not None:
            _put(name, value, field, name in given, reading)
        elif name in given:
            reading.leave(f"--{name}", value, WHY.get(name, "this version has no such setting"))


def _put(name: str, value: Any, field: dict[str, Any], is_given: bool, reading: _Reading) -> None:
    """One option in its setting."""
    if is_given and _is_to_fill(value):
        reading.leave(f"--{name}", value, TO_FILL)
    if name in options.MEANS:
        value = options.MEANS[name] if value else field["default"]
    if value is not None and (is_given or value != field["default"]):
        reading.put(f"--{name}", field["path"], value)


def _of_flow(given: dict[str, Any], script: Script, reading: _Reading) -> None:
    """What only the scripts of flow models say in different words; consumes or rewrites those options of `given`."""
    _times(given, script, reading)
    if not given.get("train_text_encoder") and (rate := given.pop("text_encoder_lr", None)):
        reading.leave("--text_encoder_lr", rate, Message("no text encoder learns here, in the script neither"))
    elif given.get("train_text_encoder"):
        given.setdefault("text_encoder_lr", 5e-6)
    optimizer = str(given.pop("optimizer", "adamw"))
    if optimizer.lower() == "prodigy":
        given.pop("use_8bit_adam", None)
        reading.put("--optimizer", "optim.name", "prodigy")
    elif optimizer.lower() != "adamw":
        reading.leave("--optimizer", optimizer, Message("there are: adamw, prodigy"))
    repeats = given.pop("repeats", None)
    often, epochs = (_count(str(number)) for number in (repeats, given.get("num_train_epochs", 1)))
    if often and epochs and "max_train_steps" not in given:
        given["num_train_epochs"] = often * epochs
    elif repeats is not None:
        reading.leave("--repeats", repeats,
                      Message("the steps decide, as in the script")
                      if often and epochs else Message("it is no number from 1 on, or the epochs are none"))


def _times(given: dict[str, Any], script: Script, reading: _Reading) -> None:
    """How often each noise level is learnt. The scripts draw a place in a table that begins with noise alone, so that a
    positive mean is LESS noise there: here it has the other sign. The density `mode` is its own mirror image."""
    scheme = given.get("weighting_scheme", script.options["weighting_scheme"].default)
    if scheme in ("sigma_sqrt", "cosmap"):
        reading.leave("--weighting_scheme", scheme,
                      Message("every noise level weighs the same here; their times are uniform"))
    given["weighting_scheme"] = "uniform" if scheme in ("none", "sigma_sqrt", "cosmap") else scheme
    for name, (reader, default) in options.FLOW_TIMES.items():
        if scheme == reader:
            given.setdefault(name, default)
        elif name in given:
            reading.leave(f"--{name}", given.pop(name),
                          Message("only --weighting_scheme={scheme} reads it, in the script too", scheme=reader))
    mean = given.get("logit_mean")
    if mean is not None and _is_number(str(mean).lstrip("+-")) and math.isfinite(float(mean)):
        given["logit_mean"] = 0.0 - float(mean)


def _unlike(given: dict[str, Any], script: Script, reading: _Reading) -> None:
    """What the script and the studio say in different words; consumes those options of `given`."""
    if "validation_prompt" in script.options and (prompt := given.pop("validation_prompt", None)):
        count = str(given.pop("num_validation_images", 4))
        many = _count(count)
        reading.put("--validation_prompt", "sample.prompts", [prompt] * (1 if many is None else min(64, many)))
    elif images := given.pop("num_validation_images", None):
        reading.leave("--num_validation_images", images, Message("the command has no prompt to draw"))
    if "max_train_steps" in given:
        if epochs := given.pop("num_train_epochs", None):
            reading.leave("--num_train_epochs", epochs, Message("the steps decide, as in the script"))
        given["num_train_epochs"] = None
    if given.get("lr_scheduler", "constant") == "constant":
        if (warmup := given.pop("lr_warmup_steps", "0")) != "0":
            reading.leave("--lr_warmup_steps", warmup,
                          Message("the constant schedule has no warm-up, in the script neither"))
        given["lr_warmup_steps"] = 0
    warmup, steps = (str(given.get(name, otherwise)) for name, otherwise in (
        ("lr_warmup_steps", 500), ("max_train_steps", "")))
    if (_count(warmup) or 0) >= (_count(steps) or math.inf):
        reading.leave("--lr_warmup_steps", warmup, Message("it leaves nothing of a run of {steps} steps", steps=steps))
        given["lr_warmup_steps"] = None
    if "mixed_precision" not in given and "train.mixed_precision" not in reading.values:
        given["mixed_precision"] = "no"
    _trackers(given, reading)


def _count(text: str) -> int | None:
    """A number of things as it was typed; None for anything else."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def _trackers(given: dict[str, Any], reading: _Reading) -> None:
    wanted = given.get("report_to", "tensorboard")
    known = (reading.by_reference.get("report_to") or {}).get("choices") or []
    if wanted == "all":  # as accelerate means it: those that are installed
        given["report_to"] = [name for name in known if importlib.util.find_spec(name) is not None]
        return
    names = [name.strip() for name in str(wanted).split(",") if name.strip()]
    given["report_to"] = [name for name in names if name in known]
    for name in names:
        if name not in (*known, "none"):
            reading.leave("--report_to", name, Message("there are: {names}", names=", ".join(known)))


def _is_unset(name: str, value: Any) -> bool:
    """Whether a value holds what only a shell, or the person, could have filled in."""
    return isinstance(value, str) and name not in PROMPTS and PLACEHOLDER.search(value) is not None


def _is_to_fill(value: Any) -> bool:
    """Whether a value may be one to fill in: a path/to/something, or a prompt with a variable in it."""
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    return any(PLACEHOLDER.search(text) if isinstance(value, list) else _TO_FILL.search(text) for text in texts)


def _acceptable(reading: _Reading) -> dict[str, Any]:
    """The values as a partial config that loads; what its checks refuse joins the unplaced with their reason."""
    while True:
        found: dict[str, Any] = {}
        for path, (_, value) in reading.values.items():
            section, _, name = path.partition(".")
            found.setdefault(section, {})[name] = value
        try:
            config_.load(found)
            return found
        except config_.ConfigError as error:
            refused = {p.field: p.message for p in error.problems if p.field in reading.values}
            if not refused:
                raise CommandError(str(error)[:500]) from None
            for field, message in refused.items():
                option, value = reading.values.pop(field)
                reading.leave(option, value, message)
