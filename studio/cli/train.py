"""Train from a shell: make a run and start it, or start or resume one that is there.

    python -m studio.train RUN_FOLDER [--train.max_steps 2000]
    python -m studio.train RUN_FOLDER --branch checkpoint-500 --optim.learning_rate 1e-5
    python -m studio.train --config my.json --optim.learning_rate 1e-4 --name "my run"
    python -m studio.train --from-command "accelerate launch train_text_to_image.py ..."
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio import PACKAGE, datasets, launch, prepare, secrets, storage
from studio import config as config_
from studio.cli import following
from studio.commands import reference
from studio.config import PlainConfig
from studio.errors import StudioError
from studio.folders import edits, runs
from studio.folders.runs import Run
from studio.launch import warm
from studio.storage import faults
from studio.system import machine, shell, surroundings

OWNER = "local"  # who uses this machine without signing in
STATUS = {"finished": 0, "stopped": 0, "paused": 0, "cancelled": 130}  # of this program, by how the run ended
HELD = 120.0  # seconds that a server over the same home leaves an attempt to this shell, whose tokens it does not have


class InvalidOptions(StudioError):
    """A call that cannot be carried out; each line names one fault."""


def parser() -> shell.Parser:
    """One flag per setting, read from the schema."""
    aliases = {}
    for setting in _settings():
        if setting["reference"]:
            aliases[setting["reference"]] = f"--{setting['path']}"
    flags = shell.Parser(prog="python -m studio.train", aliases=aliases, description=(
        "Train a model in this shell. Ctrl-C finishes the step, saves and ends; a second Ctrl-C ends without saving. "
        "Runs lie in STUDIO_HOME (workspace/ beside the program) and show on the page too."))
    flags.add_argument("run", nargs="?", type=Path, help="folder of a run to start or resume; with settings that may "
                       f"change on the way ({', '.join(edits.EDITABLE)}) it goes on with them, and one that trains now "
                       "takes them from its next step on")
    flags.add_argument("--resume-from", metavar="CHECKPOINT", help="with a run: the checkpoint to go on from "
                       "(checkpoint-500) in place of the newest; later ones go to the trash")
    flags.add_argument("--branch", metavar="CHECKPOINT", help="with a run: a new run that goes on from this "
                       "checkpoint, with the settings given here")
    flags.add_argument("--config", type=Path, metavar="FILE", help="a JSON config; what it leaves out is default")
    flags.add_argument("--from-command", metavar="COMMAND", help="the command line of diffusers' "
                       "train_text_to_image.py or train_text_to_image_lora.py, in quotes; what has no place here is "
                       "listed")
    flags.add_argument("--name", help="the new run's name")
    for section in config_.schema()["sections"]:
        group = flags.add_argument_group(section["title"])
        for setting in section["fields"]:
            _add_setting(group, setting)
    return flags


def _settings() -> Iterator[config_.SettingSchema]:
    """Every setting there is."""
    for section in config_.schema()["sections"]:
        yield from section["fields"]


def _add_setting(group: argparse._ArgumentGroup, setting: config_.SettingSchema) -> None:
    words = setting["help"]
    if setting["limits"]:
        words += f" Allowed: {setting['limits']}."
    if setting["default"] is not None:
        words += f" Default: {setting['default']}."
    options: dict[str, Any] = {}
    if setting["kind"] == "bool":
        options = {"nargs": "?", "const": "true"}
    elif setting["kind"] in ("lines", "choices"):
        options = {"action": "extend", "nargs": "+"}
        words += " Several may follow the flag."
    group.add_argument(f"--{setting['path']}", dest=setting["path"], default=argparse.SUPPRESS,
                       metavar=setting["kind"].upper(), help=words.replace("%", "%%"), **options)


def parsed(argv: list[str] | None) -> argparse.Namespace:
    """The arguments; a run's folder behind the last of several values is the run."""
    args = parser().parse_args(argv)
    words = sys.argv[1:] if argv is None else argv
    choices = {setting["path"] for setting in _settings() if setting["kind"] == "choices"}
    for path, values in list(_flags(args)):
        if args.run is None and isinstance(values, list) and _ends_in_run(values, words):
            args.run = Path(values.pop())
        if path in choices:
            setattr(args, path, list(filter(None, ",".join(values).split(","))))
    return args


def _ends_in_run(values: list[str], words: list[str]) -> bool:
    """Whether the last of a flag's values, which end the command, is a run's folder, so no value."""
    return len(values) > 1 and values[-1] == words[-1] and Run(Path(values[-1])).record_file.is_file()


def config_of(args: argparse.Namespace) -> PlainConfig:
    """The partial config that was asked for: the command, the file, each flag, laid over each other.

    Raises InvalidOptions."""
    command = _of_command(args.from_command) if args.from_command is not None else {}
    config = _of_file(args.config) if args.config is not None else {}
    if command:
        config = config_.merge(command, config)
    for path, value in _flags(args):
        section, _, name = path.partition(".")
        settings = config.setdefault(section, {})
        if not isinstance(settings, dict):
            raise InvalidOptions(f"{section}: a section is an object of settings")
        settings[name] = None if value in ("null", ["null"]) else value
    return config


def _of_file(file: Path) -> PlainConfig:
    """The partial config in a JSON file, its settings not yet looked at. Raises InvalidOptions."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidOptions(f"--config: {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidOptions(f"--config: {file} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise InvalidOptions(f"--config: {file} must hold an object of sections")
    return config


def _of_command(text: str) -> PlainConfig:
    """The config of a pasted command line; what has no place is said on stderr. Raises InvalidOptions."""
    try:
        read = reference.from_command(text)
    except reference.CommandError as error:
        raise InvalidOptions(f"--from-command: {error}") from None
    for entry in read["unplaced"]:
        value = "" if entry["value"] in (None, True) else f" {entry['value']}"
        print(secrets.redact(f"no place for {entry['option']}{value}: {entry['why']}"), file=sys.stderr)
    return read["config"]


def chosen(args: argparse.Namespace) -> tuple[Run, int | None]:
    """The run and the attempt to start: a new run, or another attempt of the one named, or none.

    Raises InvalidOptions."""
    if args.run is not None:
        if args.config or args.from_command:
            raise InvalidOptions("a run has its config: name either a run's folder, or a config for a new run")
        return _of_run(Run(args.run.resolve()), args)
    if args.resume_from is not None or args.branch is not None:
        raise InvalidOptions("--resume-from and --branch need the folder of the run that the checkpoint belongs to")
    config = config_of(args)
    token = os.environ.get("HF_TOKEN")
    try:
        surroundings.home(runs.home)
        if machine.known_facts(runs.home()) is None:
            print("measuring this machine, once", flush=True)
        _check_without_pictures(config, token)
        _bring_pictures(config, token)
        run = prepare.submit(runs.home(), name=args.name or time.strftime("Run of %Y-%m-%d %H:%M"), owner=OWNER,
                             config=config, token=token, held=HELD)
    except surroundings.UnusableEnvironment as problem:
        raise InvalidOptions(str(problem)) from None
    except config_.ConfigError as error:
        raise _wrong(error, "") from None
    return run, run.attempts()[0]


def _wrong(error: config_.ConfigError, whole: str) -> InvalidOptions:
    """Every problem of a config, a line each; one of no single setting is of the `whole`."""
    return InvalidOptions("\n".join(f"{problem.field or whole}: {problem.message}" for problem in error.problems))


def _check_without_pictures(config: PlainConfig, token: str | None) -> None:
    """What can be said before pictures are brought in. Raises ConfigError, so that a refused run leaves none behind."""
    data = config.get("data", {})
    if isinstance(data, dict):  # else `plan` says what a section is
        data = {**data, "dataset": "sample", "data_dir": None}
    plan = prepare.plan(runs.home(), {**config, "data": data}, token=token)
    problems = [problem for problem in plan.problems if problem.field != "data.dataset"]
    if problems:
        raise config_.ConfigError(problems)


def _bring_pictures(config: PlainConfig, token: str | None) -> None:
    """Import the Hub data set or the folder that the config names; its id takes their place. Raises InvalidOptions."""
    try:
        data = config_.load({"data": config.get("data", {})}).data
        dataset_id, report = datasets.ensure(runs.home(), data, OWNER, token, _print_imported)
    except config_.ConfigError:
        return  # prepare names every problem
    except (datasets.InvalidOptions, datasets.UnreadableTable) as problem:
        raise InvalidOptions(f"data.dataset: {problem}") from None
    if report is not None:
        if report["error"]:
            raise InvalidOptions(f"data.dataset: {report['error']}")
        arrived = report["used"] + report["converted"]
        print(f"imported {arrived} of {report['seen']} into data set {dataset_id}", *report["notes"], sep="\n",
              flush=True)
    config["data"] = {**config.get("data", {}), "dataset": dataset_id}


def _print_imported(done: int, total: int | None) -> None:
    print(f"importing pictures {done}/{total or '?'}", flush=True)


def _of_run(run: Run, args: argparse.Namespace) -> tuple[Run, int | None]:
    """The run, or a branch of it, and the attempt to start; none where a run that trains now takes new settings."""
    if not run.record_file.is_file():
        raise InvalidOptions(f"{run.path} is not a run's folder: it has no {run.record_file.name}")
    reader = runs.EventReader()
    changes = config_of(args)
    try:
        if args.branch is not None:
            branch = prepare.branch(run.home, run, name=args.name or f"{run.record()['name']}, branched", owner=OWNER,
                                    checkpoint=args.branch, config=changes, held=HELD)
            return branch, branch.attempts()[0]
        if args.name is not None:
            raise InvalidOptions("--name names a new run: leave it out, or branch the run")
        if changes:
            request_id = runs.change(run, changes, reader)
            if request_id:  # it trains: the trainer takes them
                _wait_for_answer(run, request_id)
                return run, None
        if reader.state(run)[0] == "queued":
            return run, run.attempts()[0]
        return run, runs.resume(run, reader, args.resume_from, held=HELD)
    except config_.ConfigError as error:
        raise _wrong(error, run.path.name) from None
    except (runs.Refused, storage.Corrupt) as error:
        raise InvalidOptions(f"{run.path.name}: {error}") from None


def _wait_for_answer(run: Run, request_id: str) -> None:
    """Wait for what the trainer says to a request, and say it. Raises InvalidOptions when it was refused."""
    reader = runs.EventReader()
    print("asked: it holds from the next step on", flush=True)
    while True:
        alive = run.alive()
        answer = reader.history(run).controls.get(request_id, {})
        if answer.get("result") == "refused":
            raise InvalidOptions(f"refused: {answer['message']}")
        if answer.get("result") == "done":
            print(f"from step {answer['step']} on: {answer['message']}")
            return
        if answer and answer.get("message"):  # accepted for a later step
            print(answer["message"])
            return
        if not alive:
            raise InvalidOptions("the run ended before it could take that: give it the settings again to resume it "
                                 "with them")
        time.sleep(following.POLL)


def _flags(args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """(path, value) of each setting that was given: text, or a list of texts."""
    for path, value in vars(args).items():
        if "." in path:
            yield path, value


def supervise(run: Run, attempt: int) -> warm.Process:
    """A supervisor that sees all that this shell does, its tokens too."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    return launch.spawn(run, attempt, environment={**os.environ, "PYTHONPATH": path}, server=warm.inherited())


def report(run: Run, state: str) -> int:
    """Say how it ended and where the results lie; returns the exit status."""
    history = runs.EventReader().history(run)
    exit_ = run.exit() or {}
    error = (history.end or {}).get("error") or exit_.get("error")
    if error:
        print(f"{error['message']}\n{error['hint']}", file=sys.stderr)
    elif state == "queued" and storage.is_full(run.home):
        print(f"The run could not begin. {faults.FULL.message} {faults.FULL.hint}", file=sys.stderr)
    newest = next(run.valid_checkpoints(), None)
    print(f"{state} at step {history.step}")
    print(f"weights: {newest[0]}" if newest else "no checkpoint was saved")
    print(f"pictures: {run.samples}")
    if state in runs.RESUMABLE:
        print(f"resume: python -m studio.train {run.path}")
    return STATUS.get(state, 1)


def main(argv: list[str] | None = None) -> int:
    """0 for finished, stopped or paused; 1 failed; 2 a wrong call, one line per fault on stderr; 130 cancelled."""
    surroundings.use_utf8()
    for sentence in surroundings.drop_unusable(os.environ):
        print(sentence, file=sys.stderr)
    args = parsed(argv)
    try:
        run, attempt = chosen(args)
        print(f"run: {run.path}", flush=True)
        if attempt is None:
            return 0
        return report(run, following.Shell(run, supervise(run, attempt)).follow())
    except (InvalidOptions, OSError) as error:
        print(faults.in_shell(error), file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
