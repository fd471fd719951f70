"""A message is its English and keeps its template and values: through errors, copies, files and strangers' words."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio import messages, secrets, storage
from studio.folders import events, foreign
from studio.limited import ipc
from studio.messages import STORED, Message

PIECES = ("{name}", "{", "}", "{{", "{0}", "{name!r}", "{name:,}", "%s", "There is no data set {name}.", ". ", "; ",
          "The disk of the studio is full.", "\n", "日本", "a")
THEIRS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


def parts(message: str) -> Any:
    """A Message taken apart, with all within it."""
    if not isinstance(message, Message):
        return message
    return message.template, {name: parts(value) if isinstance(value, str) else value
                              for name, value in message.values.items()}


def nested() -> Message:
    return Message("{first}, and {count:,} more ({share:.1f} %)", first=Message("there is no {what}", what="{first}"),
                   count=12345, share=2.345)


def test_a_message_is_its_english() -> None:
    assert nested() == "there is no {first}, and 12,345 more (2.3 %)"
    assert Message('Send {"apply": true}.') == 'Send {"apply": true}.'
    assert Message("{path} of {kind}", path=Path("/a"), kind=None) == "/a of None"


@given(name=THEIRS, caption=THEIRS)
def test_values_go_in_once(name: str, caption: str) -> None:
    message = Message("{name} says {caption}", name=name, caption=Message("it is {text}", text=caption))
    assert message == name + " says it is " + caption
    assert message.values["name"] == name


@given(name=THEIRS, caption=THEIRS)
def test_what_a_person_wrote_comes_back_from_a_file_as_it_was(name: str, caption: str) -> None:
    data = {"error": Message("{name} says {caption}", name=name, caption=caption), "name": name,
            "notes": [caption, Message("it is {text}", text=name)]}
    read = messages.loads(json.dumps(messages.stored(data)).encode())
    assert read == data and parts(read["error"]) == parts(data["error"])
    assert type(read["name"]) is str and type(read["notes"][0]) is str and parts(read["notes"][1])


def test_it_goes_through_errors_copies_and_pipes(tmp_path: Path) -> None:
    message = nested()
    assert parts(str(ValueError(message))) == parts(message)
    assert parts(copy.deepcopy({"a": message})["a"]) == parts(message)
    with open(tmp_path / "pipe", "w+b") as pipe:
        ipc.send(pipe, {"problem": message})
        pipe.seek(0)
        assert parts((ipc.receive(pipe) or {})["problem"]) == parts(message)


def test_a_sentence_gets_a_capital_and_a_stop() -> None:
    assert messages.sentence(Message("there is no {what}", what="x")) == "There is no x."
    told = messages.sentence(Message("{name}: {fault}", name="base", fault=Message("gone")))
    assert told == "Base: gone." and isinstance(told, Message)
    assert messages.sentence("no message") == "No message."
    assert messages.lowered(Message("Resume it.")) == "resume it."
    assert messages.key("There are {count:,} files.") == messages.key("there are {count} files")
    assert messages.listed(["a", Message("b"), "c"]) == "a; b; c" and messages.listed([]) == ""


def test_secrets_go_and_the_message_stays() -> None:
    token = "hf_" + "a" * 30
    told = secrets.redact(Message("the Hub refused {what}", what=token))
    assert told == "the Hub refused [secret]" and isinstance(told, Message)
    across = secrets.redact(Message("Bearer {rest}", rest="abcdefgh"))
    assert across == "Bearer [secret]" and not isinstance(across, Message), "a secret of the whole alone"


def test_files_have_the_english_and_beside_it_what_it_was_made_of(tmp_path: Path) -> None:
    writer = events.EventWriter(tmp_path / "events.jsonl")
    error = {"code": "x", "message": nested(), "hint": Message("Try {what}.", what="it"), "evidence": "{name}"}
    writer.add("warning", code="slow", message=Message("step {step} was slow", step=3))
    writer.end("failed", 3, error)
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert lines[0]["message"] == "step 3 was slow"
    assert lines[0][STORED] == {"message": {"template": "step {step} was slow", "values": {"step": 3}}}
    read, _ = events.read(tmp_path / "events.jsonl")
    assert parts(read[1]["error"]["message"]) == parts(nested()) and STORED not in read[1]["error"]
    assert read[1]["error"] == error
    storage.write_json(tmp_path / "exit.json", {"error": error})
    kept = storage.read_json(tmp_path / "exit.json") or {}
    assert parts(kept["error"]["hint"]) == ("Try {what}.", {"what": "it"})


def test_files_of_before_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"seq":1,"kind":"warning","code":"a","message":"It is {slow}."}\n')
    event = events.read(tmp_path / "events.jsonl")[0][0]
    assert event["message"] == "It is {slow}." and type(event["message"]) is str


@pytest.mark.parametrize("made_of", [
    {"template": "another text", "values": {}},
    {"template": "It is {a}.", "values": {"a": "not it"}},
    {"template": "It is {a}.", "values": {}},
    {"template": "It is {a.__class__}.", "values": {"a": "here"}},
    {"template": "It is {a:999999999d}.", "values": {"a": 1}},
    {"template": "It is {a:.99f}.", "values": {"a": 1}},
    {"template": "It is {a}.", "values": {"a": ["here"]}},
    {"template": "It is {a}.", "values": {"a": True}},
    {"template": ["It is here."], "values": {}}, {"values": {}}, "It is here.", 3, None,
    {"template": "{a}" * 5000, "values": {"a": ""}},
])
def test_what_a_stranger_says_a_text_was_made_of_makes_this_text_or_is_nothing(made_of: Any) -> None:
    began = time.process_time()
    event = messages.restored({"kind": "warning", "message": "It is here.", STORED: {"message": made_of}})
    assert event == {"kind": "warning", "message": "It is here."} and type(event["message"]) is str
    assert time.process_time() - began < 1


def test_a_rented_machines_events_keep_theirs() -> None:
    line = json.dumps(messages.stored({"seq": 1, "kind": "warning", "code": "a", "time": 1.0, "other": "x",
                                       "message": Message("It is {what}.", what="slow")})).encode()
    end = json.dumps(messages.stored({"seq": 2, "kind": "end", "result": "failed", "step": 1, "time": 1.0, "error": {
        "code": "a", "message": Message("It {what}.", what="broke"), "hint": Message("Again."), "more": "x"}})).encode()
    deep: Any = Message("x")
    for _ in range(10):
        deep = Message("{x}", x=deep)
    odd = json.dumps(messages.stored({"seq": 3, "kind": "warning", "code": "a", "time": 1.0, "message": deep})).encode()
    read: list[dict[str, Any]] = [events.parse(line) or {} for line in foreign.clean_lines([line, end, odd])]
    assert "other" not in read[0] and parts(read[0]["message"]) == ("It is {what}.", {"what": "slow"})
    assert parts(read[1]["error"]["message"]) == ("It {what}.", {"what": "broke"}) and "more" not in read[1]["error"]
    assert read[2]["message"] == "x" and type(read[2]["message"]) is str


@settings(max_examples=20, deadline=None)
@given(text=st.sampled_from(PIECES), size=st.sampled_from((10, 300, 100_000)))
def test_what_strangers_write_costs_no_more_than_its_length(text: str, size: int) -> None:
    long = (text * size)[:size]
    began = time.process_time()
    message = Message("{name}: {fault}", name=long, fault=Message("there is no {what}", what=long)).sentence()
    assert message.endswith(long + ("" if long.endswith(".") else "."))
    messages.loads(json.dumps(messages.stored({"message": message})).encode())
    assert time.process_time() - began < 0.5
