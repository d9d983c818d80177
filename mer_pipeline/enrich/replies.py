"""The table `replies`: what a language model answered about each clip, as it was written, and what it cost.

A server (`ask.py`) and a checkpoint in this process (`generate.py`) give rows of the same form. Both are asked once
more if the first answer does not fit (`second_request`). The key of a reply is made from the prompt, the model and the
sampling, and not from code, so that an edit of the code does not make anybody pay again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import pyarrow as pa

from mer_pipeline.base.clips import Row
from mer_pipeline.base.transform import Source
from mer_pipeline.config.section import Section
from mer_pipeline.enrich.reply import UnparsableReply, parse_reply

Messages = list[dict[str, str]]

SOURCE = Source("prompts", ("system", "user", "schema"))
SCHEMA = pa.schema(
    [
        pa.field("reply", pa.string()),  # the answer that fits; null for a fallback
        pa.field("status", pa.string()),  # ok, repaired (the second answer fits), fallback (neither does)
        pa.field("why", pa.string()),  # why the last answer that does not fit does not; null if all fit
        pa.field("raw", pa.list_(pa.string())),  # all answers, oldest first
        pa.field("model", pa.string()),  # its name at the server; for a checkpoint in this process, a hash of its files
        pa.field("mode", pa.string()),  # how the format was asked for: json_schema, json_object or text
        pa.field("asked", pa.string()),  # sha256 of prompt, model and sampling
        pa.field("tokens_in", pa.int32()),  # of all answers; null if the server does not count
        pa.field("tokens_out", pa.int32()),
        pa.field("requests", pa.int32()),  # sent for this clip
        pa.field("seconds", pa.float32()),  # how long its answers took
    ]
)
REPAIR_CHARS = 4000  # the most characters of the first answer that the second request repeats


class Sampling(Section):
    """The params that decide a reply, together with its prompt."""

    backend: str
    model: str
    max_tokens: int
    temperature: float
    seed: int


def first_request(prompt: Row) -> Messages:
    """Return the messages of a clip's first request.

    Args:
        prompt: a row of the table `prompts`.
    """
    return [{"role": role, "content": str(prompt[role])} for role in ("system", "user")]


def second_request(prompt: Row, answer: str, why: str) -> Messages:
    """Return the messages of a clip's second request: those of the first, its answer, and what is wrong with that.

    Args:
        prompt: a row of the table `prompts`.
        answer: the answer that does not fit.
        why: the reason why it does not fit.
    """
    return [
        *first_request(prompt),
        {"role": "assistant", "content": answer[:REPAIR_CHARS]},
        {"role": "user", "content": f"That answer does not fit: {why}. Answer again, with the one JSON object only."},
    ]


def why_not(answer: str, classes: Sequence[str], max_chars: int) -> str | None:
    """Return the reason why an answer does not fit, or None if it fits.

    Args:
        answer: what the model wrote.
        classes: the class names, in order.
        max_chars: the most characters of the enriched text.
    """
    try:
        parse_reply(answer, "", classes, max_chars)
    except UnparsableReply as error:
        return str(error)
    return None


def asked(prompt: Row, sampling: Sampling) -> str:
    """Return the key of a reply: a SHA-256 of all that decides it, as hexadecimal digits.

    Args:
        prompt: a row of the table `prompts`.
        sampling: the model and its settings.
    """
    text = json.dumps([prompt["system"], prompt["user"], prompt["schema"], sampling.model_dump()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def status_of(answers: Sequence[str], reason: str | None, why: str | None) -> Row:
    """Make the columns of a row that say whether an answer fits: reply, status, why and raw.

    Args:
        answers: the one or two answers, oldest first.
        reason: why the first answer does not fit, or None if it fits.
        why: why the last answer does not fit, or None if it fits.

    Example:
        >>> status_of(["no JSON", "{...}"], reason="it has no JSON object", why=None)["status"]
        'repaired'
    """
    last = answers[-1] if why is None else None
    status = "fallback" if last is None else "ok" if len(answers) == 1 else "repaired"
    return {"reply": last, "status": status, "why": why or reason, "raw": list(answers)}
