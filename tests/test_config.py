"""The settings: limits, every fault at once, older schemas, empty defaults filled in, and what is read from them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio import config

GOLDEN = Path(__file__).parent / "golden"
FIELDS = [field for section in config.schema()["sections"] for field in section["fields"]]
PATHS = [field["path"] for field in FIELDS]
BASE = {  # what a family, the machine and a data set suggest
    "data": {"resolution": 128}, "train": {"max_steps": 120, "batch_size": 8, "mixed_precision": "no"},
    "optim": {"learning_rate": 1e-4, "lr_scheduler": "constant"}, "objective": {"prediction_type": "epsilon"},
    "sample": {"prompts": ["a cat"], "guidance_scale": 4.0},
}


def faults(data: Any) -> dict[str, str]:
    """The problems of `data`: field -> message."""
    with pytest.raises(config.ConfigError) as caught:
        config.load(data)
    return {problem.field: problem.message for problem in caught.value.problems}


def at(field: dict[str, Any], value: Any) -> dict[str, Any]:
    """A partial config with one setting."""
    return {field["section"]: {field["name"]: value}}


def broken_bounds() -> list[Any]:
    """Every limit of every setting with the value just outside it."""
    cases = []
    for field in FIELDS:
        for kind, bound in field["bounds"].items():
            tiny = abs(bound) * 1e-6 or 1e-6
            step = 1 if field["kind"] == "int" else tiny
            value = {"ge": bound - step, "gt": bound, "le": bound + step, "lt": bound,
                     "multiple_of": bound * 3 + 1}[kind]
            cases.append(pytest.param(field, value, id=f"{field['path']}-{kind}"))
    return cases


def test_an_empty_config_is_the_defaults() -> None:
    assert config.dump(config.load({})) == {
        "schema": config.SCHEMA,
        **{s["name"]: {f["name"]: f["default"] for f in s["fields"]} for s in config.schema()["sections"]}}


@pytest.mark.parametrize("field, value", broken_bounds())
def test_a_value_just_outside_its_limit_is_refused_at_its_field(field: dict[str, Any], value: float) -> None:
    found = faults(at(field, value))
    assert list(found) == [field["path"]]
    assert field["limits"] in found[field["path"]] and str(value)[:60] in found[field["path"]]


@pytest.mark.parametrize("field", [f for f in FIELDS if f["choices"]], ids=lambda f: f["path"])
def test_a_choice_outside_the_list_is_refused_with_the_list(field: dict[str, Any]) -> None:
    assert all(choice in faults(at(field, "???"))[field["path"]] for choice in field["choices"])


@pytest.mark.parametrize("field", [f for f in FIELDS if f["kind"] in ("int", "float")], ids=lambda f: f["path"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "many", [], {}])
def test_what_is_not_a_finite_number_is_refused(field: dict[str, Any], value: Any) -> None:
    assert list(faults(at(field, value))) == [field["path"]]


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f["path"])
def test_each_setting_is_described_well_enough_for_a_form_and_a_flag(field: dict[str, Any]) -> None:
    assert field["label"] and field["help"].endswith(".") and field["kind"] in (
        "int", "float", "bool", "text", "lines", "choice", "choices")
    assert config.load(at(field, field["default"]))
    assert field["nullable"] or field["default"] is not None
    assert json.loads(json.dumps(field, allow_nan=False)) == field


def test_every_fault_is_told_at_once_each_at_its_field() -> None:
    found = faults({"modle": {}, "train": {"max_steps": 0, "sead": 1, "seed": -1}, "data": 5,
                    "optim": {"lr_scheduler": "constant", "lr_warmup_steps": 10, "adam_beta1": 2}})
    assert set(found) == {"modle", "train.max_steps", "train.sead", "train.seed", "data", "optim.adam_beta1",
                          "optim.lr_warmup_steps"}
    assert "seed" in found["train.sead"] and "model" in found["modle"]


ZERO = {"deepspeed_stage": 2, "num_processes": 2}


@pytest.mark.parametrize("data, field", [
    ({"optim": {"lr_scheduler": "constant", "lr_warmup_steps": 1}}, "optim.lr_warmup_steps"),
    ({"optim": {"lr_scheduler": "polynomial", "learning_rate": 1e-7}}, "optim.learning_rate"),
    ({"compute": {"num_processes": 3, "num_machines": 2, "main_address": "one"}}, "compute.num_processes"),
    ({"compute": {"num_processes": 2, "num_machines": 2}}, "compute.main_address"),
    ({"compute": {"main_address": "-x; rm"}}, "compute.main_address"),
    ({"compute": {"offload_optimizer_device": "cpu"}}, "compute.offload_optimizer_device"),
    ({"compute": {"offload_param_device": "cpu", **ZERO}}, "compute.offload_param_device"),
    ({"compute": {"deepspeed_stage": 2}}, "compute.deepspeed_stage"),
    ({"train": {"mixed_precision": "fp16"}, "compute": ZERO}, "train.mixed_precision"),
    ({"optim": {"name": "prodigy"}, "compute": ZERO}, "optim.name"),
    ({"optim": {"fused_backward": True}, "compute": ZERO}, "optim.fused_backward"),
    ({"model": {"train_text_encoder": True}, "compute": ZERO}, "model.train_text_encoder"),
])
def test_settings_that_do_not_fit_each_other(data: dict[str, Any], field: str) -> None:
    assert list(faults(data)) == [field]


@pytest.mark.parametrize("data", [None, [], "x", 5, {1: {}}, {"train": {2: 3}}, {"schema_version": 1},
                                  {"sample": {"prompts": "one"}}, {"sample": {"prompts": ["x" * 2001]}},
                                  {"sample": {"prompts": ["x"] * 65}}, {"model": {"base": "\ud800"}}])
def test_what_is_no_config_is_refused(data: Any) -> None:
    assert faults(data)


@pytest.mark.parametrize("schema", [0, -1, config.SCHEMA + 1, "1", True, None, 1.0, [1]])
def test_an_unknown_schema_is_refused_with_what_is_known(schema: Any) -> None:
    assert str(config.SCHEMA) in faults({"schema": schema})["schema"]


@pytest.mark.parametrize("version", range(1, config.SCHEMA + 1))
def test_a_config_of_every_schema_still_says_the_same(version: int) -> None:
    """golden/config-N.json is one and the same run, as schema N wrote it: kept for ever, never edited."""
    old = json.loads((GOLDEN / f"config-{version}.json").read_text())
    newest = json.loads((GOLDEN / f"config-{config.SCHEMA}.json").read_text())
    told = config.dump(config.load(old))
    assert told["schema"] == config.SCHEMA
    for section, values in newest.items():
        assert section == "schema" or values.items() <= told[section].items()


def test_the_golden_config_moves_every_setting_off_its_default() -> None:
    newest = json.loads((GOLDEN / f"config-{config.SCHEMA}.json").read_text())
    fixed = {f["path"] for f in FIELDS if f["choices"] and len(f["choices"]) == 1}
    fixed |= {"model.family", "model.method", "optim.name"}  # had one value when the file was written
    same = {f["path"] for f in FIELDS if newest.get(f["section"], {}).get(f["name"], ...) == f["default"]}
    assert same <= fixed


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner:
    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5)
near_configs = st.dictionaries(
    st.sampled_from([s["name"] for s in config.schema()["sections"]]) | st.text(max_size=5),
    st.dictionaries(st.sampled_from([f["name"] for f in FIELDS]) | st.text(max_size=5), json_values, max_size=4)
    | json_values, max_size=4)


@settings(max_examples=300, deadline=None)
@given(near_configs)
def test_any_data_is_either_a_config_or_refused_by_fields(data: dict[str, Any]) -> None:
    try:
        good = config.load(data)
    except config.ConfigError as error:
        assert error.problems and all(p.message for p in error.problems)
    else:
        assert config.load(json.loads(json.dumps(config.dump(good), allow_nan=False))) == good


def resolved(data: dict[str, Any], pictures: int = 100) -> config.Config:
    """`data` with the suggestions above."""
    return config.resolve(config.load(data), BASE, pictures=pictures, seed=5, cores=4)


def test_resolve_fills_every_empty_default_and_keeps_what_was_set() -> None:
    done = resolved({"optim": {"learning_rate": 3e-5}, "compute": {"num_processes": 2}})
    empty = {p for p in PATHS if getattr(getattr(done, p.split(".")[0]), p.split(".")[1]) is None}
    assert empty == set(config.MAY_STAY_EMPTY)
    assert (done.train.max_steps, done.train.seed, done.optim.learning_rate) == (120, 5, 3e-5)
    assert (done.sample.every_steps, done.checkpoint.every_steps, done.compute.num_threads) == (20, 40, 2)


def test_resolve_is_done_once() -> None:
    done = resolved({"train": {"epochs": 2}})
    assert config.resolve(done, pictures=9999, seed=6, cores=64) == done


@pytest.mark.parametrize("pictures, steps", [(1, 3), (8, 3), (9, 6), (100, 39)])
def test_epochs_give_the_steps_the_last_window_may_be_short(pictures: int, steps: int) -> None:
    assert resolved({"train": {"epochs": 3}}, pictures).train.max_steps == steps


def test_threads_are_shared_out_over_the_processes_of_one_machine() -> None:
    compute = {"num_processes": 4, "num_machines": 2, "main_address": "node-1"}
    assert resolved({"optim": {"learning_rate": 3e-5}, "compute": compute}).compute.num_threads == 2


def test_steps_win_over_epochs() -> None:
    assert resolved({"train": {"epochs": 3, "max_steps": 7}}).train.max_steps == 7


@pytest.mark.parametrize("asked, steps, warmup", [
    ({}, 300, 0), ({"lr_scheduler": "cosine"}, 300, 30), ({"lr_scheduler": "cosine"}, 9, 0),
    ({"lr_scheduler": "linear"}, 100_000, 500), ({"lr_scheduler": "linear", "lr_warmup_steps": 0}, 300, 0),
])
def test_a_schedule_that_moves_warms_up_for_a_tenth(asked: dict[str, Any], steps: int, warmup: int) -> None:
    assert resolved({"optim": asked, "train": {"max_steps": steps}}).optim.lr_warmup_steps == warmup


def test_resolve_names_what_nobody_suggested() -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.resolve(config.load({"train": {"epochs": 1}}), pictures=1, seed=0, cores=1)
    assert {p.field for p in caught.value.problems} >= {"train.max_steps", "train.batch_size", "optim.learning_rate"}


def test_resolve_checks_a_suggestion_against_what_was_set() -> None:
    with pytest.raises(config.ConfigError) as caught:
        resolved({"optim": {"lr_scheduler": "linear", "lr_warmup_steps": 120}})
    assert [p.field for p in caught.value.problems] == ["optim.lr_warmup_steps"]


def test_a_later_layer_wins_unless_it_is_empty() -> None:
    merged = config.merge({"train": {"seed": 1, "epochs": 2}}, {"train": {"seed": None, "epochs": 3}, "schema": 1})
    assert merged == {"train": {"seed": 1, "epochs": 3}, "schema": 1}
