"""What a viewer can do in the playground: draw with any checkpoint of a run beside its base, vote blindly, and see
whether the run only knows its pictures by heart."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, cast

from studio import config as config_
from studio import export, families
from studio.bases import source as source_
from studio.errors import Refused
from studio.folders import events, runs
from studio.folders.work import Job
from studio.insight import votes
from studio.messages import JsonObject, Message
from studio.web.access import Viewer, require
from studio.web.http import serializers
from studio.web.http.errors import NotFound, WebError, there_are
from studio.web.services.core import Core, Service
from studio.web.services.jobs import JobService
from studio.web.services.runs import PROMPT_LENGTH, RunService

MOST_COLUMNS = 8
MOST_PICTURES = 256
MOST_SCALE = 1.5
UNKNOWN_SIDE = 512  # of a picture, where the run does not say what it is trained at
NUMBERS: dict[str, tuple[type, float, float]] = {
    "guidance_scale": (float, 0, 100), "num_inference_steps": (int, 1, 1000), "width": (int, 16, 4096),
    "height": (int, 16, 4096)}
SIDES = ("width", "height")


class PlayService(Service):
    """Drawing with what was trained."""

    def __init__(self, core: Core, runs: RunService, jobs: JobService):
        super().__init__(core)
        self.runs = runs
        self.jobs = jobs

    def draw(self, viewer: Viewer, run_id: str, request: Mapping[str, Any]) -> JsonObject:
        """Start drawing; returns the job. What `request` leaves out is as in the run's own samples, the columns are
        the base and the newest checkpoint, the seed is random."""
        require(viewer, None, "create", "job")
        run = self.runs.find(viewer, run_id, "write")
        self.quotas.ask(viewer, "job")
        self.runs.check_base(viewer, run)
        drawing = _arguments(run, request)
        borrowed = dict.fromkeys((column["checkpoint"], column["weights"]) for column in drawing["columns"])

        def fill(job: Job) -> None:
            for checkpoint, weights in borrowed:
                if checkpoint and weights:  # the base has none
                    runs.lend(run, checkpoint, weights, job.inputs)

        return self.jobs.submit(viewer, "draw", {"run": run.id, **drawing}, name=f"Draw with {run.record()['name']}",
                                light=False, subject=run.id, lend_token=True, fill=fill)

    def overfitting(self, viewer: Viewer, run_id: str) -> JsonObject:
        """What tells of overfitting, and the checkpoint that it recommends (see `serializers.overfitting`); `job`: the
        comparison under way, or null."""
        run = self.runs.find(viewer, run_id, "read")
        live = self.jobs.live("likeness", run.id)
        view = serializers.overfitting(run, self.runs.config_of(run), self.reader.history(run))
        return {**view, "job": self.jobs.get(viewer, live.id) if live else None}

    def compare_samples(self, viewer: Viewer, run_id: str) -> JsonObject:
        """Start comparing the samples with the training pictures; returns the job, the running one if there is one."""
        require(viewer, None, "create", "job")
        run = self.runs.find(viewer, run_id, "write")
        live = self.jobs.live("likeness", run.id)
        if live is not None:
            return self.jobs.get(viewer, live.id)
        return self.jobs.submit(viewer, "likeness", {"run": run.id}, name=f"Compare samples of {run.record()['name']}",
                                light=True, subject=run.id)

    def vote(self, viewer: Viewer, job_id: str) -> JsonObject:
        """How the blind vote on a drawing stands: {total, done, ended, next: {pair, prompt, left, right} or null,
        last, tally}; the tally, and with it the names, only at the end."""
        job = self.jobs.find(viewer, job_id, "read")
        shown, _, ballot = self._ballot(viewer, job, "read")
        return _standing(job, shown, ballot)

    def cast_vote(self, viewer: Viewer, job_id: str, *, pair: str | None = None, choice: str | None = None,
                  undo: bool = False, end: bool = False) -> JsonObject:
        """Vote on a pair, take the last vote back, or stop; returns how it stands then."""
        job = self.jobs.find(viewer, job_id, "write")
        shown, file, ballot = self._ballot(viewer, job, "write")
        if file is None:
            raise NotFound(Message("There is no such drawing."),
                           Message("A vote is on pictures that were drawn in the playground."))
        if self.reader.state(job)[0] not in events.FINAL:
            raise Refused(Message("The pictures are still being drawn."),
                          Message("Wait until they are all there, then vote."))
        if ballot.ended:
            raise Refused(Message("This vote has ended."),
                          Message("Draw again, perhaps with other seeds, for another one."))
        self.quotas.votes(file)
        if undo and ballot.last:
            votes.cast(file, job.id, ballot, {"pair": ballot.last, "choice": None})
        elif end:
            votes.cast(file, job.id, ballot, {"end": True})
        elif not undo:
            if pair not in ballot.pairs or choice not in votes.CHOICES:
                raise WebError(Message("A vote is {pair, choice}: a pair of this drawing and left, right or tie."),
                               Message("Ask for the next pair first."))
            votes.cast(file, job.id, ballot, {"pair": pair, "choice": choice})
        return _standing(job, shown, ballot)

    def past_votes(self, viewer: Viewer, run_id: str) -> JsonObject:
        """What the blind votes on a run's drawings said, newest first: {"items": [{job, time, columns, done, total,
        tally}]}. One that is not over is left out while its drawing is there: its names are still to be told."""
        run = self.runs.find(viewer, run_id, "read")
        here = {job.id for job, facts in self.index.jobs() if facts.get("subject") == run.id}
        items = []
        for job_id, ballot in reversed(votes.ballots(run.votes_file).items()):
            drawing = job_id if job_id in here else None
            if ballot.choices and (ballot.ended or drawing is None):
                items.append({"job": drawing, "time": ballot.time, "columns": ballot.columns,
                              "done": len(ballot.choices), "total": len(ballot.pairs), "tally": ballot.tally()})
        return {"items": items, "next": None}

    def _ballot(self, viewer: Viewer, job: Job, action: str) -> tuple[list[votes.Pair], Path | None, votes.Ballot]:
        """The pairs of a drawing, the file of its run's votes (None: the job draws nothing), and those on it."""
        facts = self.index.facts(job)
        if facts["kind"] != "draw":
            return [], None, votes.Ballot({})
        run = self.runs.find(viewer, facts["subject"] or "", action)
        pictures: list[votes.Picture] = []
        for result in self.reader.history(job).results.values():
            drawn = cast("votes.Picture", result["facts"])
            pictures.append({"name": result["name"], "column": drawn["column"], "prompt": drawn["prompt"],
                             "seed": drawn["seed"]})
        shown = votes.pairs(job.id, pictures)
        return shown, run.votes_file, votes.ballot(run.votes_file, job.id, shown, facts["args"]["columns"])


def _standing(job: Job, shown: list[votes.Pair], ballot: votes.Ballot) -> JsonObject:
    """How a vote stands: `schemas.jobs.Standing`."""
    pair_id = ballot.following
    following = next((pair for pair in shown if pair.id == pair_id), None)
    next_pair = None
    if following is not None:
        next_pair = {"pair": following.id, "prompt": following.left["prompt"],
                     "left": _address(job, following.left), "right": _address(job, following.right)}
    return {"total": len(ballot.pairs), "done": len(ballot.choices), "ended": ballot.ended, "last": ballot.last,
            "next": next_pair, "tally": ballot.tally() if ballot.ended else None}


def _address(job: Job, picture: votes.Picture) -> str:
    return f"/api/jobs/{job.id}/files/{picture['name']}"


def _arguments(run: runs.Run, request: Mapping[str, Any]) -> dict[str, Any]:
    """The job's arguments: NUMBERS, prompts, negative_prompt, seeds and columns. Raises WebError with what is wrong,
    and what there is instead; ConfigError for sides that the base cannot draw."""
    config = run.config()
    numbers = _numbers(config, request)
    sides: dict[str, int | None] = {"width": int(numbers["width"]), "height": int(numbers["height"])}
    if problems := families.side_problems(source_.family_of(config.model), export.base_of(run), sides):
        raise config_.ConfigError(problems)
    prompts = request.get("prompts")
    if prompts is None:
        prompts = (config.sample.prompts or [""])[:1]
    drawing = {**numbers, "prompts": _prompts(prompts),
               "negative_prompt": _prompts([request.get("negative_prompt") or ""])[0],
               "seeds": _seeds(request.get("seeds")),
               "columns": _columns(run, config.model.method == "lora", request.get("columns"))}
    count = len(drawing["columns"]) * len(drawing["prompts"]) * len(drawing["seeds"])
    if count > MOST_PICTURES:
        raise WebError(Message("These are {count} pictures; at most {most} are drawn at once.", count=count,
                               most=MOST_PICTURES), Message("Take fewer checkpoints, prompts or seeds."))
    return drawing


def _numbers(config: config_.Config, request: Mapping[str, Any]) -> dict[str, float]:
    """The NUMBERS that are wanted, else as in the run's own samples; `resolution` is both sides in one."""
    width, height = config_.preview_size(config)
    defaults = {"guidance_scale": config.sample.guidance_scale or 0.0, "width": width or UNKNOWN_SIDE,
                "height": height or UNKNOWN_SIDE,
                "num_inference_steps": config.sample.num_inference_steps or config_.DRAWING_STEPS}
    numbers = {}
    for name in NUMBERS:
        value = request.get(name)
        if value is None and name in SIDES:
            value = request.get("resolution")
        if value is None:
            value = defaults[name]
        numbers[name] = _number(name, value)
    return numbers


def _number(name: str, value: object) -> float:
    """`value` as NUMBERS says of what kind it is, and within its limits. Raises WebError."""
    kind, least, most = NUMBERS[name]
    if not _is_number(value, kind) or not least <= value <= most:
        message = Message("The field {name} must be a number from {least} to {most}.", name=repr(name), least=least,
                          most=most)
        if kind is int:
            message = Message("The field {name} must be a whole number from {least} to {most}.", name=repr(name),
                              least=least, most=most)
        raise WebError(message, Message("Correct it and try again."))
    return kind(value)


def _is_number(value: object, kind: type) -> TypeGuard[float]:
    """Whether this is a number of JSON; a whole one where `kind` is int."""
    return isinstance(value, int | kind) and not isinstance(value, bool)


def _prompts(texts: Sequence[object]) -> list[str]:
    """The prompts, each as one line. Raises WebError."""
    prompts = []
    for text in texts:
        if isinstance(text, str) and len(text) <= PROMPT_LENGTH:
            prompts.append(" ".join(text.split()))
    if not prompts or len(prompts) < len(texts):
        raise WebError(Message("Every prompt must be text of at most {length} characters, and there must be one.",
                               length=PROMPT_LENGTH), Message("Correct them and try again."))
    return prompts


def _seeds(seeds: list[object] | None) -> list[int]:
    """The seeds, or one of chance. Raises WebError."""
    if seeds is None:
        return [secrets.randbelow(2**32)]
    whole = []
    for seed in seeds:
        if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**53:
            whole.append(seed)
    if not whole or len(set(whole)) < len(seeds):
        raise WebError(Message("Seeds must be different whole numbers from 0 on."),
                       Message("Leave them out for a random one."))
    return whole


def _columns(run: runs.Run, lora: bool, columns: list[object] | None) -> list[votes.Column]:
    """Which weights are drawn with; by default the base and the newest checkpoint. Raises WebError."""
    weights_of = {}
    for path, manifest in run.valid_checkpoints():
        weights_of[path.name] = {weights for weights in ("ema", "raw") if runs.parts_of(manifest, weights)}
    if not weights_of:
        raise WebError(Message("This run has no checkpoint yet."),
                       Message("Wait for the first one, or press Save now."))
    if columns is None:
        newest = next(iter(weights_of))
        columns = [{}, {"checkpoint": newest, "weights": "ema" if "ema" in weights_of[newest] else "raw"}]
    chosen = [_column(column, weights_of, lora) for column in columns]
    distinct = {tuple(column.values()) for column in chosen}
    if not chosen or len(chosen) > MOST_COLUMNS or len(distinct) < len(chosen):
        raise WebError(Message("There must be from 1 to {most} columns, all different.", most=MOST_COLUMNS),
                       Message("Add or take away some."))
    return chosen


def _column(column: object, weights_of: dict[str, set[str]], lora: bool) -> votes.Column:
    """One column as it was sent, checked; `weights_of` has what there is of each checkpoint. Raises WebError."""
    if not isinstance(column, dict) or set(column) - {"checkpoint", "weights", "scale"}:
        raise WebError(Message("A column is {checkpoint, weights, scale}."),
                       Message("A checkpoint of null is the base."))
    name = column.get("checkpoint")
    weights = column.get("weights") or "ema"
    if name is None:
        return {"checkpoint": None, "weights": None, "scale": None}
    if not isinstance(name, str) or name not in weights_of:
        raise WebError(Message("There is no checkpoint {name} in this run.", name=repr(str(name)[:40])),
                       there_are(weights_of))
    if not isinstance(weights, str) or weights not in weights_of[name]:
        raise WebError(Message("{name} has no weights {weights}.", name=name, weights=repr(str(weights)[:20])),
                       there_are(sorted(weights_of[name])))
    return {"checkpoint": name, "weights": weights, "scale": _scale(column.get("scale"), lora)}


def _scale(scale: object, lora: bool) -> float:
    """The strength of a LoRA, by default 1; of other weights it can be nothing else. Raises WebError."""
    if scale is None:
        return 1.0
    if not _is_number(scale, float) or not 0 <= scale <= MOST_SCALE:
        raise WebError(Message("A scale is a number from 0 to {most}.", most=MOST_SCALE),
                       Message("1 is the LoRA as it was trained."))
    if scale != 1 and not lora:
        raise WebError(Message("Only a LoRA has a scale; this run trained every weight."),
                       Message("Leave the scale out."))
    return float(scale)
