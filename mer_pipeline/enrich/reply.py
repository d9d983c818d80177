"""What a language model must answer: the JSON schema of a reply, and its parser.

Scores are whole percentages, because a grammar can bound these and models write them reliably. The parser turns them
into a distribution that sums to 1. A reply can only name the known classes. Texts that are too long are cut; everything
else that does not fit is an error, with a reason that is told to the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mer_pipeline.enrich.clean import plain

MAX_CUES = 6  # the most cues of a reply that are kept
WORDS_CHARS = 60  # the most characters of a cue and of its words
SENTENCE_CHARS = 300  # the most characters of `meaning` and `context`
THOUGHTS = "</think>"  # ends the thoughts that some models write before their answer

Percent = Annotated[int, Field(ge=0, le=100)]


class Cue(BaseModel):
    """A sign of emotion, and the words of the prompt that show it."""

    model_config = ConfigDict(strict=True)

    words: str
    cue: str


class Reply(BaseModel):
    """The form of a model's answer. The pipeline mainly uses `enriched_text` and `scores`."""

    model_config = ConfigDict(strict=True)

    meaning: str
    cues: Annotated[list[Cue], Field(max_length=4 * MAX_CUES)]
    context: str
    intensity: Percent
    scores: dict[str, Percent]
    enriched_text: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class ParsedReply:
    """What is read from a reply that fits.

    Attributes:
        meaning: one sentence that says what the words literally mean.
        cues: "words: cue" for each cue whose words are in the prompt.
        context: one sentence on the situation in which this is likely to be said.
        intensity: of the emotion, from 0 to 1.
        scores: a score for each class, in their order; they sum to 1. None if the model gave every class 0.
        text: what the model wrote about the clip.
    """

    meaning: str
    cues: tuple[str, ...]
    context: str
    intensity: float
    scores: tuple[float, ...] | None
    text: str


class UnparsableReply(ValueError):
    """A reply that does not fit. The message is a reason that can be shown to the model."""


def reply_schema(classes: Sequence[str], max_chars: int) -> dict[str, object]:
    """Return the JSON schema of a reply. It only uses keywords that grammars and strict servers know.

    Args:
        classes: the class names, in order.
        max_chars: the most characters of the enriched text.
    """

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
        raw: what the model wrote; the first JSON object in it is read.
        asked: all that the model was told about the clip. A cue whose words are not in it is left out.
        classes: the class names, in order.
        max_chars: the most characters of the enriched text; a longer one is cut.

    Raises:
        UnparsableReply: if there is no JSON object, a key is missing, a value has a wrong type or is out of its range,
            the enriched text is empty, or the scores are not of exactly these classes.

    Example:
        >>> raw = (
        ...     '{"meaning": "She is glad.", "cues": [{"words": "thanks", "cue": "gratitude"}], "context": "A gift.", '
        ...     '"intensity": 60, "scores": {"happy": 90, "sad": 30}, "enriched_text": "She thanks warmly."}'
        ... )
        >>> reply = parse_reply(raw, "Oh, thanks!", ("happy", "sad"), max_chars=100)
        >>> reply.scores, reply.intensity, reply.cues
        ((0.75, 0.25), 0.6, ('thanks: gratitude',))
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
    """Return the first JSON object in a text; models often write code fences or a sentence around it.

    Raises:
        UnparsableReply: if there is none.
    """
    text = raw[raw.rfind(THOUGHTS) + len(THOUGHTS) :] if THOUGHTS in raw else raw
    for start in _braces(text):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        return value
    raise UnparsableReply("the reply has no complete JSON object")


def _braces(text: str) -> Iterator[int]:
    """Find the first 20 places where an object may start. The limit keeps a text of many braces from taking long."""
    found = -1
    for _ in range(20):
        found = text.find("{", found + 1)
        if found < 0:
            return
        yield found
