"""Forty commands as people really paste them: each value is what their shell would make of it, or told."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest

from studio.commands.reference import CommandError, from_command

P, B = "python train_text_to_image.py --pretrained_model_name_or_path=a/b", {"model.base": "a/b"}
L = "accelerate launch train_text_to_image.py"
TEN = {**B, "train.max_steps": 10}
Case = tuple[str, dict[str, Any], dict[str, Any]]  # a command, settings, and unplaced options with their values
CASES: dict[str, Case] = {
    # bash
    "continued": (f"{L} \\\n  --pretrained_model_name_or_path=a/b \\\n  --max_train_steps=10", TEN, {}),
    "continuation at the end": (f"{P} --max_train_steps=10 \\", TEN, {}),
    "continuation and a line end at the end": (f"{P} --max_train_steps=10 \\\n", TEN, {}),
    "continuation and blanks at the end": (f"{P} --max_train_steps=10 \\  \n  ", TEN, {}),
    "carriage returns": (f"{L} \\\r\n --pretrained_model_name_or_path=a/b \\\r\n --max_train_steps=10\r\n", TEN, {}),
    "a comment behind": (f"{P} --max_train_steps=10 # --resolution=1024 --use_ema",
                         {**TEN, "data.resolution": 512, "ema.enabled": False}, {"#": "--resolution=1024 --use_ema"}),
    "a comment between": (f"{P} \\\n# --gradient_checkpointing \\\n --max_train_steps=10",
                          {**TEN, "compute.gradient_checkpointing": None}, {"#": "--gradient_checkpointing \\"}),
    "a comment behind a continuation": (f"{P} \\ # the base\n  # --use_ema \\\n\n  --max_train_steps=10", TEN,
                                        {"#": "--use_ema \\"}),
    "no comment inside a word": (f"{P} --dataset_name=a/b#c", {**B, "data.dataset": "a/b#c"}, {}),
    "a default": ("python train_text_to_image.py --pretrained_model_name_or_path=${BASE:-a/b}", B, {}),
    "a variable that says nothing": (f"{P} --train_data_dir=$ROOT/birds", {**B, "data.data_dir": None},
                                     {"--train_data_dir": "$ROOT/birds"}),
    "a variable in single quotes": ("X=a/b\npython train_text_to_image.py --pretrained_model_name_or_path='$X'",
                                    {"model.base": None}, {"--pretrained_model_name_or_path": "$X"}),
    "a variable of several words": (f'ARGS="--max_train_steps 10 --use_ema"\n{P} $ARGS', {**TEN, "ema.enabled": True},
                                    {}),
    "what a command says": (f"{P} --train_data_dir=$(pwd)/pics", {**B, "data.data_dir": None},
                            {"--train_data_dir": "$(pwd)/pics"}),
    "a semicolon": (f"cd x; {P} --max_train_steps=10; echo done", TEN, {}),
    "output into a file": (f"nohup {P} --max_train_steps=10 > log.txt 2>&1 &", TEN, {">": "log.txt"}),
    "output into a program": (f"{P} --max_train_steps=10 2>&1 | tee log.txt", TEN, {}),
    "another script before": (f"python setup.py install && {P}", B, {}),
    "quotes in quotes": (P + ''' --validation_prompts 'it'\\''s' "say \\"hi\\"" ''',
                         {**B, "sample.prompts": ["it's", 'say "hi"']}, {}),
    "a terminal's words": (f"(venv) me@box:~/x$ {P} \\\n> --max_train_steps=10", TEN, {}),
    "fish": ("set -x BASE a/b\npython train_text_to_image.py --pretrained_model_name_or_path=$BASE", B, {}),
    # PowerShell
    "PowerShell": ("$env:BASE = \"a/b\"\naccelerate launch .\\train_text_to_image.py `\n"
                   "  --pretrained_model_name_or_path=$env:BASE `\n  --max_train_steps=10", TEN, {}),
    "PowerShell's own variables": ("$base = 'a/b'\npython train_text_to_image.py --pretrained_model_name_or_path $base",
                                   B, {}),
    "PowerShell without the variable": (f"{L} `\n --pretrained_model_name_or_path=$env:BASE", {"model.base": None},
                                        {"--pretrained_model_name_or_path": "$env:BASE"}),
    "PowerShell's prompt": (f"PS C:\\Users\\me> {P}", B, {}),
    # cmd
    "cmd": ("set BASE=a/b\nset \"DIR=C:\\my pics\\birds\"\n" + L + " ^\n --pretrained_model_name_or_path=%base% ^\n "
            "--train_data_dir=\"%DIR%\"", {**B, "data.data_dir": "C:\\my pics\\birds"}, {}),
    "cmd without the variable": (f"{L} ^\n --pretrained_model_name_or_path=%BASE%", {"model.base": None},
                                 {"--pretrained_model_name_or_path": "%BASE%"}),
    "cmd's comment": ("REM my run\nset A=a/b\npython train_text_to_image.py --pretrained_model_name_or_path=%A%", B,
                      {}),
    # notebooks
    "a notebook's variable": ("BASE = 'a/b'\n!python train_text_to_image.py --pretrained_model_name_or_path={BASE}", B,
                              {}),
    "a notebook's environment": ("%env BASE=a/b\n!python train_text_to_image.py --pretrained_model_name_or_path=$BASE",
                                 B, {}),
    "a notebook without the variable": (f"!{P} --dataset_name={{DATASET}}", {**B, "data.dataset": None},
                                        {"--dataset_name": "{DATASET}"}),
    "a cell of bash": (f"%%bash\n{P} \\\n  --max_train_steps=10", TEN, {}),
    # Windows paths
    "a path without quotes": (P + r" --train_data_dir=C:\Users\me\pics", {**B, "data.data_dir": r"C:\Users\me\pics"},
                              {}),
    "a path in quotes with its end": (P + ' --train_data_dir="C:\\my pics\\" --max_train_steps=10',
                                      {**TEN, "data.data_dir": "C:\\my pics\\"}, {}),
    "a path of another machine": (P + r" --train_data_dir=\\nas\pics\birds",
                                  {**B, "data.data_dir": r"\\nas\pics\birds"}, {}),
    "a path and continued lines": (P + " \\\n --train_data_dir=C:\\pics\\birds \\\n --max_train_steps=10",
                                   {**TEN, "data.data_dir": "C:\\pics\\birds"}, {}),
    # web pages
    "curly quotes": ("python train_text_to_image.py --pretrained_model_name_or_path=“a/b” --validation_prompts “a "
                     "cat’s hat” ‘a dog’", {**B, "sample.prompts": ["a cat’s hat", "a dog"]}, {}),
    "blanks of other kinds": (f"{P} --max_train_steps=10".replace(" ", "\u00a0"), TEN, {}),
    "long dashes": ("python train_text_to_image.py —pretrained_model_name_or_path=a/b ––max_train_steps=10", TEN, {}),
    "what HTML writes": ("cd x &amp;&amp; python train_text_to_image.py --pretrained_model_name_or_path="
                         "&quot;a/b&quot;", B, {}),
    "a fence": (f"```bash\n{P} --max_train_steps=10\n```", TEN, {}),
    "a place to fill in": ("python train_text_to_image.py --pretrained_model_name_or_path=<your model>",
                           {"model.base": None}, {"--pretrained_model_name_or_path": "<your model>"}),
    "quotes by their names": (f"{P} --validation_prompts &ldquo;a cat&rdquo; &#8220;a dog&#8221;",
                              {**B, "sample.prompts": ["a cat", "a dog"]}, {}),
    "line ends of a page": (f"{P} \\<br>--max_train_steps=10 \\\u2028--use_ema", {**TEN, "ema.enabled": True}, {}),
    "code in a line": (f"`{P} --max_train_steps=10`", TEN, {}),
    # more of variables and of what is to be filled in
    "added to a variable": (f"A='--use_ema'\nA+=' --max_train_steps=10'\n{P} $A", {**TEN, "ema.enabled": True}, {}),
    "a dictionary of the environment": ("os.environ['BASE']='a/b'\n!python train_text_to_image.py "
                                        "--pretrained_model_name_or_path=$BASE", B, {}),
    "PowerShell's braces": ('${env:BASE}="a/b"\npython train_text_to_image.py '
                            "--pretrained_model_name_or_path=${env:BASE}", B, {}),
    "what a script is called with": (f"{P} --train_data_dir=$1 --dataset_name=%1 --cache_dir=%~dp0cache",
                                     {**B, "data.data_dir": None, "data.dataset": None},
                                     {"--train_data_dir": "$1", "--dataset_name": "%1", "--cache_dir": "%~dp0cache"}),
    "brackets to fill in": ("python train_text_to_image.py --pretrained_model_name_or_path=[your model] "
                            "--dataset_name={cfg['data']} --train_data_dir=@DIR@",
                            {"model.base": None, "data.dataset": None, "data.data_dir": None},
                            {"--pretrained_model_name_or_path": "[your", "model]": None,
                             "--dataset_name": "{cfg[data]}", "--train_data_dir": "@DIR@"}),
    "a path of its own folder": (P + r" --train_data_dir=pics\birds", {**B, "data.data_dir": r"pics\birds"}, {}),
    "a blank after a backslash": (P + r" --train_data_dir=my\ pics%20/x", {**B, "data.data_dir": "my pics%20/x"}, {}),
    # values
    "false values": (f"{P} --use_ema=False --center_crop true --random_flip no",
                     {**B, "ema.enabled": False, "data.center_crop": True, "data.random_flip": False}, {}),
    "a value that is neither": (f"{P} --use_ema=maybe", {**B, "ema.enabled": False}, {"--use_ema": "maybe"}),
    "several values": (f"{P} --report_to tensorboard wandb", {**B, "track.report_to": ["tensorboard", "wandb"]}, {}),
    "one value too many": (f"{P} --resolution 256 300", {**B, "data.resolution": 256}, {"300": None})}
DEFAULT: dict[str, Any] = {"ema.enabled": False, "data.random_flip": False}


@pytest.mark.parametrize("name", CASES)
def test_each_value_is_right_or_told(name: str) -> None:
    text, settings, unplaced = CASES[name]
    found = from_command(text)
    for path, value in settings.items():
        section, _, leaf = path.partition(".")
        assert found["config"].get(section, {}).get(leaf, DEFAULT.get(path)) == value, path
    told = {line["option"]: line["value"] for line in found["unplaced"]
            if line["option"] != "--pretrained_model_name_or_path" or line["value"] is not None}
    assert told == unplaced
    assert all(len(line["why"]) > 10 for line in found["unplaced"])


def test_there_are_forty() -> None:
    assert len(CASES) >= 40


def test_a_quote_that_is_not_closed_is_shown() -> None:
    with pytest.raises(CommandError, match=r'a quote is not closed: "a/b --max_train_steps'):
        from_command('python train_text_to_image.py --pretrained_model_name_or_path="a/b --max_train_steps=10')


def test_a_path_to_fill_in_is_taken_and_told() -> None:
    found = from_command(f"{P} --train_data_dir=/path/to/images")
    assert found["config"]["data"]["data_dir"] == "/path/to/images"
    assert [line["option"] for line in found["unplaced"]] == ["--train_data_dir"]


def test_secrets_in_comments_stay_there() -> None:
    found = from_command(f"{P} # --hub_token=hf_abcdefghijklm")
    assert "hf_abc" not in str(found)


def test_a_long_text_is_read_in_one_go() -> None:
    """Nothing in it is walked more than a few times: lines, quotes and blanks by the thousand."""
    for filler in ("\n", " ", "#\n", "$", "'a' ", "\\", "^\n", "{a", "%a", "“a”", "<a", "``", "\\\n"):
        text, began = P + " " + (filler * 19_000)[:19_000], time.process_time()
        with suppress(CommandError):
            from_command(text)
        assert time.process_time() - began < 10, filler
