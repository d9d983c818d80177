"""What a model may answer, and what becomes of it."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.enrich.reply import SENTENCE_CHARS, UnparsableReply, parse_reply, reply_schema

SCHEMA = reply_schema(MER_CLASSES, 100)
GOOD: dict[str, Any] = {
    "meaning": "She says hello.",
    "cues": [{"words": "Hello", "cue": "friendly"}],
    "context": "They meet.",
    "intensity": 40,
    "scores": dict(zip(MER_CLASSES, (50, 0, 50, 0, 0, 0), strict=True)),
    "enriched_text": "A warm greeting.",
}


def read(raw: str) -> Any:
    return parse_reply(raw, "Hello.", MER_CLASSES, 100)


def test_a_good_reply() -> None:
    """All its parts, scores as shares in the classes' order."""
    jsonschema.validate(GOOD, SCHEMA)
    reply = read(json.dumps(GOOD))
    assert reply.scores == (0.5, 0.0, 0.5, 0.0, 0.0, 0.0)
    assert (reply.text, reply.intensity, reply.cues) == ("A warm greeting.", 0.4, ("Hello: friendly",))


@pytest.mark.parametrize(
    "around",
    ["{}", "```json\n{}\n```", "Here it is:\n{}\nI hope this helps {{smile}}", "<think>{{maybe}} sad</think>{}"],
)
def test_what_models_put_around_it_is_left_out(around: str) -> None:
    """Fences, politeness and thoughts."""
    assert read(around.replace("{{", "{").replace("}}", "}").replace("{}", json.dumps(GOOD))).intensity == 0.4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"scores": {**GOOD["scores"], "disgust": 10}}, "exactly the keys"),
        ({"scores": {"happy": 100}}, "exactly the keys"),
        ({"scores": {**GOOD["scores"], "sad": -1}}, "scores.sad"),
        ({"scores": {**GOOD["scores"], "sad": 0.5}}, "scores.sad"),
        ({"scores": {**GOOD["scores"], "sad": "90"}}, "scores.sad"),
        ({"intensity": 101}, "intensity"),
        ({"intensity": None}, "intensity"),
        ({"enriched_text": " \u200b\n"}, "enriched_text"),
        ({"meaning": ["a"]}, "meaning"),
        ({"cues": "none"}, "cues"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(change: dict[str, object], why: str) -> None:
    """A model can only choose among the known classes, in numbers that mean something."""
    with pytest.raises(UnparsableReply, match=why):
        read(json.dumps(GOOD | change))


@pytest.mark.parametrize("key", GOOD)
def test_no_key_may_be_missing(key: str) -> None:
    """Nor is one made up."""
    with pytest.raises(UnparsableReply, match=key):
        read(json.dumps({name: value for name, value in GOOD.items() if name != key}))


@pytest.mark.parametrize("raw", ["", "happy", "[1, 2]", "{", json.dumps(GOOD)[:-1], "{" * 10_000, '{"a": ' * 5_000])
def test_no_object_is_no_reply(raw: str) -> None:
    """Cut off, or never begun; a page of braces costs nothing."""
    with pytest.raises(UnparsableReply):
        read(raw)


def test_all_zero_scores_are_an_abstention() -> None:
    """No distribution is made up from nothing."""
    assert read(json.dumps(GOOD | {"scores": dict.fromkeys(MER_CLASSES, 0)})).scores is None


def test_cues_must_rest_on_words_that_are_there() -> None:
    """A quotation that was made up is dropped, and at most six are kept."""
    cues = [{"words": "Goodbye", "cue": "cold"}, *[{"words": "Hello", "cue": f"c{at}"} for at in range(9)]]
    assert read(json.dumps(GOOD | {"cues": cues})).cues == tuple(f"Hello: c{at}" for at in range(6))


def test_lengths_are_cut() -> None:
    """A talkative server without a grammar is no reason to ask again."""
    reply = read(json.dumps(GOOD | {"enriched_text": "x" * 5000, "meaning": "y" * 5000}))
    assert (len(reply.text), len(reply.meaning)) == (100, SENTENCE_CHARS)


@given(st.lists(st.integers(0, 100), min_size=6, max_size=6).filter(any), st.text(min_size=1, max_size=99))
def test_scores_sum_to_one(scores: list[int], text: str) -> None:
    """Whatever percentages the model gave, and whatever it wrote."""
    reply = GOOD | {"scores": dict(zip(MER_CLASSES, scores, strict=True)), "meaning": text}
    jsonschema.validate(reply, SCHEMA)
    assert sum(read(json.dumps(reply)).scores) == pytest.approx(1.0)
