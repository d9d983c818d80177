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

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mer_pipeline.enrich.clean import plain

MAX_CUES = 6  # the most cues of a reply that are kept
WORDS_CHARS = 60  # the most characters of a cue and of its words
SENTENCE_CHARS = 300  # the most characters of `meaning` and `context`
# How some models mark the beginning and the end of the thoughts that they write before their answer. Thoughts without
# an answer are stored in the first form (completion.py).
THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
)
TRIED = 20  # the most places that are tried as the start of an object, so that a text of many braces is read fast


def _whole(value: object) -> object:
    """40.0 is 40: JSON has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Percent = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=100)]


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
        raw: what the model wrote; the one JSON object in it that fits is read.
        asked: all that the model was told about the clip. A cue whose words are not in it is left out.
        classes: the class names, in order.
        max_chars: the most characters of the enriched text; a longer one is cut.

    Raises:
        UnparsableReply: if no JSON object in it fits (a key is missing, a value has a wrong type or is out of its
            range, the enriched text is empty, or the scores are not of exactly these classes), or if several fit and
            differ.

    Example:
        >>> raw = (
        ...     '{"meaning": "She is glad.", "cues": [{"words": "thanks", "cue": "gratitude"}], "context": "A gift.", '
        ...     '"intensity": 60, "scores": {"happy": 90, "sad": 30}, "enriched_text": "She thanks warmly."}'
        ... )
        >>> reply = parse_reply(raw, "Oh, thanks!", ("happy", "sad"), max_chars=100)
        >>> reply.scores, reply.intensity, reply.cues
        ((0.75, 0.25), 0.6, ('thanks: gratitude',))
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
