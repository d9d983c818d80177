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

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mer_pipeline.enrich.clean import plain

MAX_CUES = 6
WORDS_CHARS = 60
SENTENCE_CHARS = 300
THOUGHTS = "</think>"  # what a model thinks before it answers ends so

Percent = Annotated[int, Field(ge=0, le=100)]


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
        raw: what the model wrote; a JSON object somewhere in it.
        asked: all that the model was told about the clip; cues must rest on words of it.
        classes: in order.
        max_chars: of the enriched text.

    Raises:
        UnparsableReply: it is no JSON, lacks a key, has a wrong type, or scores something else than the classes.
    """
    try:
        reply = Reply.model_validate(_first_object(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnparsableReply(f'"{plain(where, 60)}": {first["msg"]}') from None
    if set(reply.scores) != set(classes):
        raise UnparsableReply(f'"scores" must have exactly the keys {", ".join(classes)}')
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


def _first_object(raw: str) -> object:
    """The first JSON object in a text: models like to put fences or a sentence around it."""
    text = raw[raw.rfind(THOUGHTS) + len(THOUGHTS) :] if THOUGHTS in raw else raw
    for start in _braces(text):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        return value
    raise UnparsableReply("the reply has no complete JSON object")


def _braces(text: str) -> Iterator[int]:
    """Where an object may start; a few places, so that a page of braces costs nothing."""
    found = -1
    for _ in range(20):
        found = text.find("{", found + 1)
        if found < 0:
            return
        yield found
