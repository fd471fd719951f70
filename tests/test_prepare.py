"""From what a person asked for to a run folder, and every problem named at its field."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio import config, prepare, sizes
from studio.families import EMBEDDED

from .families import tiny
from .measured import know


@pytest.fixture
def home_(home: Path) -> Path:
    """A home that knows its machine."""
    return know(home)


def fields(plan: prepare.Plan) -> set[str]:
    """The settings with problems."""
    return {problem.field for problem in plan.problems}


def test_nothing_asked_is_a_complete_run(home_: Path) -> None:
    plan = prepare.plan(home_, {})
    assert not plan.problems and plan.config is not None
    nulls = {f"{s}.{k}" for s, values in config.dump(plan.config).items() if isinstance(values, dict)
             for k, v in values.items() if v is None}
    assert nulls <= set(config.MAY_STAY_EMPTY)
    weights = sizes.parameters(plan.source, "unet")
    assert plan.checkpoint_bytes == weights * 16
    assert plan.disk_bytes == pytest.approx(weights * 16 * 3 * 1.2, abs=1)
    assert plan.dataset["id"] == "sample" and plan.dataset["count"] == len(plan.rows) > 100


def test_what_a_person_sets_wins(home_: Path) -> None:
    asked = {"train": {"max_steps": 7, "seed": 5}, "ema": {"enabled": False}, "sample": {"prompts": ["a cat"]},
             "data": {"resolution": 32}}
    plan = prepare.plan(home_, asked)
    assert plan.config is not None
    assert (plan.config.train.max_steps, plan.config.train.seed, plan.config.sample.prompts) == (7, 5, ["a cat"])
    assert plan.config.data.resolution == 32 and plan.checkpoint_bytes == sizes.parameters(plan.source, "unet") * 12


def test_a_schedule_is_the_persons_else_the_optimizers_else_the_bases(home_: Path, tmp_path: Path) -> None:
    base = tiny.make(tmp_path / "tiny")

    def schedule(optim: dict[str, Any]) -> Any:
        plan = prepare.plan(home_, {"model": {"base": str(base)}, "optim": optim, "ema": {"enabled": False}})
        assert plan.config is not None and not plan.problems
        return plan.config.optim.lr_scheduler

    assert schedule({}) == "constant"
    (base / "studio.json").write_text('{"optim": {"lr_scheduler": "cosine"}}')
    assert (schedule({}), schedule({"lr_scheduler": "linear"})) == ("cosine", "linear")
    assert schedule({"name": "schedulefree"}) == "constant"  # which takes the place of a schedule


@pytest.mark.parametrize("most", [10, 10_000])
def test_the_most_pictures_are_chosen_by_the_seed(home_: Path, most: int) -> None:
    asked = {"data": {"max_samples": most}, "train": {"seed": 5, "epochs": 1, "batch_size": 4}}
    plan, all_ = prepare.plan(home_, asked), prepare.plan(home_, {})
    taken = sum(row.get("repeats", 1) for row in plan.rows)  # in one pass over the data
    assert plan.config is not None and plan.config.train.max_steps == -(-taken // 4)
    assert len(plan.rows) == min(most, len(all_.rows)) and (most == 10 or taken > len(plan.rows))
    run = prepare.submit(home_, name="x", owner="me", config=asked)
    names = [row["name"] for row in run.rows()]
    assert names == [row["name"] for row in plan.rows] and len(names) == min(most, len(all_.rows))
    assert names == [row["name"] for row in all_.rows if row["name"] in set(names)]  # in their own order
    other = prepare.plan(home_, {**asked, "train": {"seed": 6}})
    assert ([row["name"] for row in other.rows] == names) is (most > 10)


def test_a_share_is_held_out_where_the_data_set_holds_out_nothing(home_: Path) -> None:
    asked = {"validation": {"share": 0.1, "pictures": 12}, "train": {"seed": 5, "epochs": 1, "batch_size": 1}}
    plan, all_ = prepare.plan(home_, asked), prepare.plan(home_, {})
    count = len(all_.rows) - round(0.1 * len(all_.rows))
    assert plan.config is not None and len(plan.rows) == count
    assert plan.config.train.max_steps == sum(row.get("repeats", 1) for row in plan.rows)
    run = prepare.submit(home_, name="x", owner="me", config=asked)
    held = [row["name"] for row in run.rows() if row["split"] != "train"]
    assert len(held) == 12 and run.record()["dataset"]["count"] == count
    assert not set(held) & {row["name"] for row in plan.rows}
    assert len(prepare.submit(home_, name="y", owner="me", config={}).rows()) == len(all_.rows)


def test_a_bucket_step_above_the_resolution_is_refused(home_: Path) -> None:
    plan = prepare.plan(home_, {"data": {"buckets": True, "bucket_step": 128}})
    assert fields(plan) == {"data.bucket_step"} and "more than the resolution of 64" in plan.problems[0].message
    plan = prepare.plan(home_, {"data": {"buckets": True}})
    assert plan.config is not None and plan.config.data.bucket_step == 8  # its VAE halves twice, its UNet once


def test_seeds_differ(home_: Path) -> None:
    seeds = {prepare.plan(home_, {}).config.train.seed for _ in range(3)}  # type: ignore[union-attr]
    assert len(seeds) == 3


@pytest.mark.parametrize("asked, expected", [
    ({"model": {"base": "/nowhere"}, "data": {"dataset": "nope"}, "train": {"max_steps": 0, "foo": 1},
      "optim": {"learning_rate": True}},
     {"model.base", "data.dataset", "train.max_steps", "train.foo", "optim.learning_rate"}),
    ({"train": {"mixed_precision": "fp16", "max_steps": 5}, "optim": {"lr_warmup_steps": 10, "lr_scheduler": "linear"},
      "compute": {"num_processes": 64}}, {"optim.lr_warmup_steps", "train.mixed_precision", "compute.num_processes"}),
    ({"model": {"family": "nope"}}, {"model.family"}),
    ({"model": 3}, {"model"}),
    ({"data": {"dataset": "../../etc"}}, {"data.dataset"}),
    ([], {""}),
])
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="written for a machine without a GPU")
def test_all_problems_at_once(home_: Path, asked: dict, expected: set[str]) -> None:
    assert fields(prepare.plan(home_, asked)) == expected
    with pytest.raises(config.ConfigError) as caught:
        prepare.submit(home_, name="x", owner="me", config=asked)
    assert {p.field for p in caught.value.problems} == expected
    assert not list((home_ / "runs").glob("*")) if (home_ / "runs").exists() else True


def test_a_broken_base_is_told_at_its_field(home_: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(EMBEDDED, base)
    next((base / "unet").glob("*.safetensors")).write_bytes(b"\xff" * 64)
    plan = prepare.plan(home_, {"model": {"base": str(base)}})
    assert fields(plan) == {"model.base"} and "not a safetensors file" in plan.problems[0].message


def test_a_submitted_run_waits_with_everything_it_needs(home_: Path) -> None:
    run = prepare.submit(home_, name="mine", owner="me", config={"train": {"epochs": 2, "batch_size": 50}})
    record, rows = run.record(), run.rows()
    assert record["name"] == "mine" and record["owner"] == "me" and run.attempts() == (1, 0)
    assert record["dataset"]["count"] == len(rows) and record["dataset"]["fingerprint"]
    assert run.config().train.max_steps == 2 * -(-sum(row.get("repeats", 1) for row in rows) // 50)
    row = rows[0]
    assert (home_ / "images" / row["image"][:2] / f"{row['image']}.{row['ext']}").is_file()
    assert json.loads(run.config_file.read_text())["train"]["seed"] is not None


def test_zero_divides_what_each_process_keeps() -> None:
    def kept(stage: int, processes: int = 4) -> int:
        settings = config.load({"compute": {"deepspeed_stage": stage, "num_processes": processes},
                                "ema": {"enabled": False}})
        return sizes.weight_bytes(settings, [600, 400], 0)

    assert [kept(stage) for stage in range(4)] == [16000, 11000, 8000, 5000]
    assert kept(0, processes=1) == 16000 and kept(3, processes=2) == 10000


@pytest.mark.parametrize(("stage", "ema", "gpu", "bytes_"), [
    (0, True, False, 0), (1, True, False, 8000), (2, True, True, 0), (3, False, False, 8000 + 6000),
    (3, True, False, 8000 + 6000 + 4000), (3, True, True, 6000)])
def test_what_rank_0_gathers_is_counted(stage: int, ema: bool, gpu: bool, bytes_: int) -> None:
    """A thousand weights learn, five hundred do not: AdamW keeps 8 bytes of each, the twin and the average 4."""
    settings = config.load({"compute": {"deepspeed_stage": stage, "num_processes": 4 if stage else 1},
                            "ema": {"enabled": ema}})
    assert sizes.gathered_bytes(settings, [600, 400], 500, gpu) == bytes_


@pytest.fixture
def small_disk(home_: Path) -> Iterator[Path]:
    """A home on a disk of 64 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = home_.parent / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        shutil.copytree(home_, disk / "home")
        yield disk / "home"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_too_small_is_told_before_anything_starts(small_disk: Path) -> None:
    plan = prepare.plan(small_disk, {})
    assert fields(plan) == {"checkpoint.keep"} and "free" in plan.problems[0].message


@pytest.mark.parametrize(("objective", "field"), [
    ({"dream": True, "prediction_type": "v_prediction"}, "objective.dream"),
    ({"zero_terminal_snr": True, "prediction_type": "epsilon"}, "objective.zero_terminal_snr"),
    ({"zero_terminal_snr": True, "prediction_type": "v_prediction"}, None),
    ({"dream": True, "prediction_type": "epsilon"}, None)])
def test_an_objective_without_a_formula_is_told(home_: Path, objective: dict, field: str | None) -> None:
    plan = prepare.plan(home_, {"objective": objective})
    assert fields(plan) == ({field} if field else set())
    assert not field or "turn" in plan.problems[0].message


def test_gamma_takes_the_last_time_away_from_zero_terminal_snr(home_: Path) -> None:
    objective = {"zero_terminal_snr": True, "prediction_type": "v_prediction", "snr_gamma": 5.0}
    assert any("objective.snr_gamma" in warning for warning in prepare.plan(home_, {"objective": objective}).warnings)


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="written for a machine without a GPU")
def test_xformers_needs_a_gpu(home_: Path) -> None:
    plan = prepare.plan(home_, {"compute": {"attention": "xformers"}})
    assert fields(plan) == {"compute.attention"} and "sdpa" in plan.problems[0].message
