"""What a viewer can do in the playground: draw with any checkpoint of a run beside its base, vote blindly, and see
whether the run only knows its pictures by heart."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from studio import config as config_
from studio import export, families
from studio.bases import source as source_
from studio.errors import Refused
from studio.folders import events, runs
from studio.folders.work import Job
from studio.insight import votes
from studio.messages import Message
from studio.web import overfitting
from studio.web.access import Viewer, require
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


class PlayService(Service):
    """Drawing with what was trained."""

    def __init__(self, core: Core, runs: RunService, jobs: JobService):
        super().__init__(core)
        self.runs = runs
        self.jobs = jobs

    def draw(self, viewer: Viewer, run_id: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """Start drawing; returns the job. What `wanted` leaves out is as in the run's own samples, the columns are
        the base and the newest checkpoint, the seed is random."""
        require(viewer, None, "create", "job")
        run = self.runs.find(viewer, run_id, "write")
        self.quotas.ask(viewer, "job")
        self.runs.check_base(viewer, run)
        args = {"run": run.id, **_asked(run, wanted)}
        borrowed = {(c["checkpoint"], c["weights"]): None for c in args["columns"] if c["checkpoint"]}

        def fill(job: Job) -> None:
            for checkpoint, weights in borrowed:
                runs.lend(run, checkpoint, weights, job.inputs)

        return self.jobs.submit(viewer, "draw", args, name=f"Draw with {run.record()['name']}", light=False,
                                subject=run.id, lend_token=True, fill=fill)

    def overfitting(self, viewer: Viewer, run_id: str) -> dict[str, Any]:
        """What tells of overfitting, and the checkpoint that it recommends (see `overfitting.view`); `job`: the
        comparison under way, or null."""
        run = self.runs.find(viewer, run_id, "read")
        live = self.jobs.live("likeness", run.id)
        return {**overfitting.view(run, self.runs.config_of(run), self.reader.story(run)),
                "job": self.jobs.get(viewer, live.id) if live else None}

    def compare_samples(self, viewer: Viewer, run_id: str) -> dict[str, Any]:
        """Start comparing the samples with the training pictures; returns the job, the running one if there is one."""
        require(viewer, None, "create", "job")
        run = self.runs.find(viewer, run_id, "write")
        live = self.jobs.live("likeness", run.id)
        if live is not None:
            return self.jobs.get(viewer, live.id)
        return self.jobs.submit(viewer, "likeness", {"run": run.id}, name=f"Compare samples of {run.record()['name']}",
                                light=True, subject=run.id)

    def vote(self, viewer: Viewer, job_id: str) -> dict[str, Any]:
        """How the blind vote on a drawing stands: {total, done, ended, next: {pair, prompt, left, right} or null,
        last, tally}; the tally, and with it the names, only at the end."""
        job = self.jobs.find(viewer, job_id, "read")
        shown, _, ballot = self._ballot(viewer, job, "read")
        return _standing(job, shown, ballot)

    def cast_vote(self, viewer: Viewer, job_id: str, *, pair: str | None = None, choice: str | None = None,
                  undo: bool = False, end: bool = False) -> dict[str, Any]:
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

    def past_votes(self, viewer: Viewer, run_id: str) -> dict[str, Any]:
        """What the blind votes on a run's drawings said, newest first: {"items": [{job, time, columns, done, total,
        tally}]}. One that is not over is left out while its drawing is there: its names are still to be told."""
        run = self.runs.find(viewer, run_id, "read")
        here = {job.id for job, facts in self.index.jobs() if facts.get("subject") == run.id}
        items = [{"job": job if job in here else None, "time": one.time, "columns": one.columns,
                  "done": len(one.choices), "total": len(one.pairs), "tally": one.tally()}
                 for job, one in votes.ballots(run.votes_file).items() if one.ended or job not in here]
        return {"items": [item for item in items[::-1] if item["done"]], "next": None}

    def _ballot(self, viewer: Viewer, job: Job, action: str) -> tuple[list[votes.Pair], Path | None, votes.Ballot]:
        """The pairs of a drawing, the file of its run's votes (None: the job draws nothing), and those on it."""
        facts = self.index.facts(job)
        if facts["kind"] != "draw":
            return [], None, votes.Ballot({})
        run = self.runs.find(viewer, str(facts["subject"]), action)
        results = [{"name": r["name"], **r["facts"]} for r in self.reader.story(job).results.values()]
        shown = votes.pairs(job.id, results)
        return shown, run.votes_file, votes.ballot(run.votes_file, job.id, shown, facts["args"]["columns"])


def _standing(job: Job, shown: list[votes.Pair], ballot: votes.Ballot) -> dict[str, Any]:
    following = next((pair for pair in shown if pair.id == ballot.following), None)
    sides = {side: f"/api/jobs/{job.id}/files/{getattr(following, side)['name']}" for side in ("left", "right")
             } if following else {}
    return {"total": len(ballot.pairs), "done": len(ballot.choices), "ended": ballot.ended, "last": ballot.last,
            "next": {"pair": following.id, "prompt": following.left["prompt"], **sides} if following else None,
            "tally": ballot.tally() if ballot.ended else None}


def _asked(run: runs.Run, wanted: dict[str, Any]) -> dict[str, Any]:
    """The job's arguments. Raises WebError with what is wrong, and what there is instead; ConfigError for sides that
    the base cannot draw."""
    config = run.config()
    width, height = config_.preview_size(config)
    own = {"guidance_scale": config.sample.guidance_scale or 0.0, "width": width or UNKNOWN_SIDE,
           "height": height or UNKNOWN_SIDE,
           "num_inference_steps": config.sample.num_inference_steps or config_.DRAWING_STEPS}
    square = wanted.get("resolution")  # both sides in one
    wanted = wanted | {side: square for side in ("width", "height") if wanted.get(side) is None}
    found = {name: _number(name, wanted.get(name), own[name]) for name in NUMBERS}
    sides = {name: found[name] for name in ("width", "height")}
    if problems := families.side_problems(source_.family_of(config.model), export.base_of(run), sides):
        raise config_.ConfigError(problems)
    prompts = wanted.get("prompts")
    found["prompts"] = _prompts((config.sample.prompts or [""])[:1] if prompts is None else prompts)
    found["negative_prompt"] = _prompts([wanted.get("negative_prompt") or ""])[0]
    found["seeds"] = _seeds(wanted.get("seeds"))
    found["columns"] = _columns(run, config.model.method == "lora", wanted.get("columns"))
    count = len(found["columns"]) * len(found["prompts"]) * len(found["seeds"])
    if count > MOST_PICTURES:
        raise WebError(Message("These are {count} pictures; at most {most} are drawn at once.", count=count,
                               most=MOST_PICTURES), Message("Take fewer checkpoints, prompts or seeds."))
    return found


def _number(name: str, value: Any, own: Any) -> Any:
    kind, least, most = NUMBERS[name]
    value = own if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | kind) or not least <= value <= most:
        raise WebError(
            Message("The field {name} must be a whole number from {least} to {most}.", name=repr(name), least=least,
                    most=most) if kind is int else
            Message("The field {name} must be a number from {least} to {most}.", name=repr(name), least=least,
                    most=most), Message("Correct it and try again."))
    return kind(value)


def _prompts(texts: list[Any]) -> list[str]:
    if not texts or not all(isinstance(text, str) and len(text) <= PROMPT_LENGTH for text in texts):
        raise WebError(Message("Every prompt must be text of at most {length} characters, and there must be one.",
                               length=PROMPT_LENGTH), Message("Correct them and try again."))
    return [" ".join(text.split()) for text in texts]


def _seeds(seeds: list[Any] | None) -> list[int]:
    if seeds is None:
        return [secrets.randbelow(2**32)]
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**53 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        raise WebError(Message("Seeds must be different whole numbers from 0 on."),
                       Message("Leave them out for a random one."))
    return seeds


def _columns(run: runs.Run, lora: bool, columns: list[Any] | None) -> list[dict[str, Any]]:
    """Which weights are drawn with, as {checkpoint, weights, scale}."""
    there = {path.name: {w for w in ("ema", "raw") if runs.parts_of(manifest, w)}
             for path, manifest in run.valid_checkpoints()}
    if not there:
        raise WebError(Message("This run has no checkpoint yet."),
                       Message("Wait for the first one, or press Save now."))
    newest = next(iter(there))
    if columns is None:
        columns = [{}, {"checkpoint": newest, "weights": "ema" if "ema" in there[newest] else "raw"}]
    found = [_column(column, there, lora) for column in columns]
    if not found or len(found) > MOST_COLUMNS or any(one in found[:at] for at, one in enumerate(found)):
        raise WebError(Message("There must be from 1 to {most} columns, all different.", most=MOST_COLUMNS),
                       Message("Add or take away some."))
    return found


def _column(column: Any, there: dict[str, set[str]], lora: bool) -> dict[str, Any]:
    if not isinstance(column, dict) or set(column) - {"checkpoint", "weights", "scale"}:
        raise WebError(Message("A column is {checkpoint, weights, scale}."),
                       Message("A checkpoint of null is the base."))
    name, weights, scale = column.get("checkpoint"), column.get("weights") or "ema", column.get("scale")
    if name is None:
        return {"checkpoint": None, "weights": None, "scale": None}
    if not isinstance(name, str) or name not in there:
        raise WebError(Message("There is no checkpoint {name} in this run.", name=repr(str(name)[:40])),
                       there_are(there))
    if weights not in there[name]:
        raise WebError(Message("{name} has no weights {weights}.", name=name, weights=repr(str(weights)[:20])),
                       there_are(sorted(there[name])))
    number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if scale is not None and not (number and 0 <= scale <= MOST_SCALE):
        raise WebError(Message("A scale is a number from 0 to {most}.", most=MOST_SCALE),
                       Message("1 is the LoRA as it was trained."))
    if scale not in (None, 1) and not lora:
        raise WebError(Message("Only a LoRA has a scale; this run trained every weight."),
                       Message("Leave the scale out."))
    return {"checkpoint": name, "weights": weights, "scale": float(1 if scale is None else scale)}
