"""What a model must answer: the JSON schema that it is held to, and the parser that believes nothing else.

Scores are asked for as whole percentages, which grammars can bound and models get right, and become a distribution
that sums to 1. A reply can only choose among the known classes; lengths are cut, everything else that does not
fit is an error with a reason that the model can be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mer_pipeline.enrich.clean import plain

MAX_CUES = 6
WORDS_CHARS = 60
SENTENCE_CHARS = 300
# Where what a model thinks before it answers begins and ends. The first form is also the one in which thoughts without
# an answer are kept (completion.py).
THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
)
TRIED = 20  # places where an object may begin, so that a page of braces costs nothing


def _whole(value: object) -> object:
    """40.0 is 40: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Percent = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=100)]


class Cue(BaseModel):
    """A sign of emotion and the words that it rests on."""

    model_config = ConfigDict(strict=True)

    words: str
    cue: str


class Reply(BaseModel):
    """A model's answer as it is written; `enriched_text` and `scores` are what the pipeline lives on."""

    model_config = ConfigDict(strict=True)

    meaning: str
    cues: Annotated[list[Cue], Field(max_length=4 * MAX_CUES)]
    context: str
    intensity: Percent
    scores: dict[str, Percent]
    enriched_text: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class ParsedReply:
    """A reply that was believed.

    Attributes:
        meaning, context: one sentence each.
        cues: "words: cue", only those whose words do stand in what was asked.
        intensity: 0 to 1.
        scores: by class, in the classes' order; sums to 1. None where the model gave every class 0.
        text: what it wrote about the clip.
    """

    meaning: str
    cues: tuple[str, ...]
    context: str
    intensity: float
    scores: tuple[float, ...] | None
    text: str


class UnparsableReply(ValueError):
    """A reply that does not fit; its message is one clause that can be shown to the model."""


def reply_schema(classes: Sequence[str], max_chars: int) -> dict[str, object]:
    """JSON schema of a reply, in the part of the language that grammars and strict servers know."""

    def text(limit: int) -> dict[str, object]:
        return {"type": "string", "minLength": 1, "maxLength": limit}

    percent = {"type": "integer", "minimum": 0, "maximum": 100}
    cue = _object({"words": text(WORDS_CHARS), "cue": text(WORDS_CHARS)})
    sentence = text(min(SENTENCE_CHARS, max_chars))
    return _object(
        {
            "meaning": sentence,
            "cues": {"type": "array", "items": cue, "maxItems": MAX_CUES},
            "context": sentence,
            "intensity": percent,
            "scores": _object(dict.fromkeys(classes, percent)),
            "enriched_text": text(max_chars),
        }
    )


def _object(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def parse_reply(raw: str, asked: str, classes: Sequence[str], max_chars: int) -> ParsedReply:
    """Parse a reply.

    Args:
        raw: what the model wrote; one JSON object that fits, somewhere in it.
        asked: all that the model was told about the clip; cues must rest on words of it.
        classes: in order.
        max_chars: of the enriched text.

    Raises:
        UnparsableReply: no JSON object in it fits (one lacks a key, has a wrong type, or scores something else than the
            classes), or several do and differ.
    """
    fitting: list[Reply] = []
    reason = UnparsableReply("the reply has no complete JSON object")
    for value in _objects(_after_thoughts(raw)):
        try:
            reply = _fit(value, classes)
        except UnparsableReply as error:
            reason = error
        else:
            fitting += [reply] if reply not in fitting else []
    if not fitting:
        raise reason
    if len(fitting) > 1:
        raise UnparsableReply(f"the reply has {len(fitting)} different JSON objects that fit, and one is wanted")
    reply = fitting[0]
    text = plain(reply.enriched_text, max_chars)
    if not text:
        raise UnparsableReply('"enriched_text" is empty')
    total = sum(reply.scores.values())
    cues = ((plain(cue.words, WORDS_CHARS), plain(cue.cue, WORDS_CHARS)) for cue in reply.cues)
    return ParsedReply(
        meaning=plain(reply.meaning, SENTENCE_CHARS),
        cues=tuple(f"{words}: {cue}" for words, cue in cues if cue and words and words in asked)[:MAX_CUES],
        context=plain(reply.context, SENTENCE_CHARS),
        intensity=reply.intensity / 100,
        scores=tuple(reply.scores[name] / total for name in classes) if total else None,
        text=text,
    )


def _fit(value: object, classes: Sequence[str]) -> Reply:
    try:
        reply = Reply.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnparsableReply(f'"{plain(where, 60)}": {first["msg"]}') from None
    if set(reply.scores) != set(classes):
        raise UnparsableReply(f'"scores" must have exactly the keys {", ".join(classes)}')
    return reply


def _after_thoughts(raw: str) -> str:
    """What a model wrote after it had thought: in its thoughts it may write objects that it then rejects."""
    text = raw.lstrip()
    if text.startswith("{"):
        return text
    for begin, end in THOUGHTS:
        _, closed, answer = text.rpartition(end)
        if closed:  # its beginning may have stood in the prompt
            return answer
        if text.startswith(begin):
            raise UnparsableReply("the reply has thoughts and no answer; is enrich.max_tokens too small?")
    return text


def _objects(text: str) -> Iterator[object]:
    """The JSON objects in a text, none of them inside another: models like to put fences or a sentence around one."""
    decoder = json.JSONDecoder(object_pairs_hook=_once_each)
    at = 0
    for _ in range(TRIED):
        at = text.find("{", at)
        if at < 0:
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except UnparsableReply:
            raise
        except (ValueError, RecursionError):
            at += 1
        else:
            yield value


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnparsableReply(f'the key "{plain(twice, 60)}" stands twice in one object')
    return values
