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


OTHER = GOOD | {"intensity": 90}


@pytest.mark.parametrize(
    "around",
    [
        'You gave me {"english": "Hello."} and this is my answer: ANSWER',
        'ANSWER That rests on {"words": "Hello"}.',
        "ANSWER\n\nOnce more:\nANSWER",
        "A set {1, 2} and an open { before ANSWER",
        "<think>First I thought OTHER</think> ANSWER",
        "First I thought OTHER</think> ANSWER",
        "<thinking>OTHER</thinking> ANSWER",
        "[THINK]OTHER[/THINK] ANSWER",
        "<|channel|>analysis<|message|>OTHER<|end|><|start|>assistant<|channel|>final<|message|>ANSWER",
    ],
)
def test_the_one_object_that_fits_is_the_answer(around: str) -> None:
    """Whatever other objects stand in the prose or the thoughts around it."""
    assert read(around.replace("ANSWER", json.dumps(GOOD)).replace("OTHER", json.dumps(OTHER))).intensity == 0.4


@pytest.mark.parametrize("between", ["\n", "\nor rather:\n", "```\n```json\n"])
def test_two_answers_that_differ_are_none(between: str) -> None:
    """Nobody knows which of them is meant."""
    with pytest.raises(UnparsableReply, match="2 different JSON objects that fit"):
        read(json.dumps(GOOD) + between + json.dumps(OTHER))


@pytest.mark.parametrize("begin", ["<think>", "\n<thinking>", "[THINK]", "<|channel|>analysis<|message|>"])
def test_thoughts_without_an_answer_are_no_answer(begin: str) -> None:
    """Also where they try one out."""
    with pytest.raises(UnparsableReply, match="thoughts and no answer"):
        read(f"{begin}It could be {json.dumps(GOOD)}, but")


def test_whole_numbers_may_be_written_as_decimals() -> None:
    """40.0 is 40; 0.5 % is not asked for."""
    scores = {name: float(share) for name, share in GOOD["scores"].items()}
    assert read(json.dumps(GOOD | {"intensity": 40.0, "scores": scores})) == read(json.dumps(GOOD))
    assert read(json.dumps(GOOD).replace('"intensity": 40', '"intensity": 4e1')).intensity == 0.4
    for number in ("40.5", "NaN", "Infinity", "1e400", "true", '"40"', "-1.0", "101.0"):
        with pytest.raises(UnparsableReply, match="intensity"):
            read(json.dumps(GOOD).replace('"intensity": 40', f'"intensity": {number}'))


def test_a_key_that_stands_twice_is_no_answer() -> None:
    """Which of its values is meant, nobody knows."""
    with pytest.raises(UnparsableReply, match='the key "happy" stands twice'):
        read(json.dumps(GOOD).replace('"happy"', '"happy": 90, "happy"'))


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
