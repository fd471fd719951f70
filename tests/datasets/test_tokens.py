"""Captions as tokens without torch: the same tokens as transformers makes of them, and where a caption is cut."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from studio import limited
from studio.bases import source
from studio.datasets.text import tokenreading, tokens
from studio.families import EMBEDDED, BaseProblem, Source

TEXTS = ["", "a red cat", "It's 42 cats, don't they?  \t tabs", "Stra\u00dfe na\u00efve e\u0301",
         "\u732b\U0001f431 <|endoftext|> x", "UPPER case\u00a0space", "a" * 200, "word " * 60]


def plain(tmp_path: Path) -> Source:
    """The embedded tokenizer as older bases have it: vocab.json and merges.txt, no tokenizer.json."""
    folder = tmp_path / "tokenizer"
    folder.mkdir(exist_ok=True)
    model = json.loads((EMBEDDED / "tokenizer" / "tokenizer.json").read_text())["model"]
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": {"content": "<|startoftext|>"}}))
    return Source(tmp_path, "plain", None, None)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[tokens.Encoder]:
    found = source.locate("embedded")
    assert found is not None
    return [*tokens.encoders(found), *tokens.encoders(plain(tmp_path_factory.mktemp("plain")))]


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_tokens_as_transformers(both: list[tokens.Encoder], text: str) -> None:
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    theirs = CLIPTokenizer.from_pretrained(EMBEDDED / "tokenizer", local_files_only=True)
    ids = theirs(text, add_special_tokens=False, truncation=False).input_ids
    for encoder in both:
        loaded, _ = tokenreading.load(encoder.base / encoder.name)
        assert loaded.encode(text, add_special_tokens=False).ids == ids
        assert encoder.lengths([text]) == [len(ids)]
    assert [encoder.limit for encoder in both] == [30, 75]


@given(st.text(max_size=200))
@example("0" * 5 + "\x80" * 6 + "\U00010000" * 3 + "\u00d1A")  # without its A the last word has a token more
@settings(max_examples=200, deadline=None)
def test_what_is_read_and_what_is_cut_make_the_text(both: list[tokens.Encoder], text: str) -> None:
    encoder = both[0]
    found = encoder.read(text)
    assert text[: found["kept"]] + found["cut"] == text
    assert bool(found["cut"]) == (len(found["tokens"]) > encoder.limit)
    short = encoder.shorten(text)
    assert text.startswith(short) and encoder.lengths([short])[0] <= encoder.limit


def test_a_base_without_a_readable_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(BaseProblem, match="no tokenizer"):
        tokens.encoders(Source(tmp_path, "empty", None, None))
    base = plain(tmp_path)
    (tmp_path / "tokenizer" / "vocab.json").write_text("{")
    with pytest.raises(BaseProblem, match="repair or replace"):
        tokens.encoders(base)


def catastrophe(tmp_path: Path, **changes: object) -> Source:
    """The embedded tokenizer with parts of its tokenizer.json changed."""
    folder = tmp_path / "tokenizer"
    folder.mkdir(exist_ok=True)
    rules = json.loads((EMBEDDED / "tokenizer" / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**rules, **changes}))
    (folder / "tokenizer_config.json").write_text((EMBEDDED / "tokenizer" / "tokenizer_config.json").read_text())
    return Source(tmp_path, "evil", None, None)


def test_a_tokenizer_that_never_ends_costs_its_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = limited.LimitedProcessPool("studio.datasets.text.tokenreading", seconds=3.0)
    monkeypatch.setattr(tokens, "_readers", pool)
    rule = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Removed", "invert": False}
    (encoder,) = tokens.encoders(catastrophe(tmp_path, pre_tokenizer=rule))
    before = time.process_time()
    with pytest.raises(BaseProblem, match="longer than 3 s|stop"):
        encoder.lengths(["x" * 5000])
    assert time.process_time() - before < 0.5
    assert encoder.lengths(["a"]) == [1], "the next one is asked of a new process"


def test_a_tokenizer_without_end_is_not_read(tmp_path: Path) -> None:
    base = catastrophe(tmp_path)
    with open(tmp_path / "tokenizer" / "tokenizer.json", "a") as file:
        file.truncate((64 << 20) + 1)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BaseProblem, match="larger than 64 MB"):
        tokens.encoders(base)
    with open(tmp_path / "tokenizer" / "tokenizer.json", "w") as file:
        file.write("[")
        for _ in range(200):
            file.write("[]," * 100_000)
    with pytest.raises(BaseProblem, match="repair or replace|more than"):
        tokens.encoders(base)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50 << 10
