"""`data/replies/`: what a model answered about each clip, as it was written, and what it took to get it.

The two that ask, a server (`ask.py`) and a checkpoint in this process (`generate.py`), write the same row, and
both ask once more when an answer does not fit (`second_request`). A reply's key is the prompt, the model and the
sampling, and not code: an edit here or there buys nothing twice.
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
        pa.field("why", pa.string()),  # why the last one that did not fit does not
        pa.field("raw", pa.list_(pa.string())),  # all answers, oldest first
        pa.field("model", pa.string()),  # as the server calls it; of a checkpoint in this process, a hash of its files
        pa.field("mode", pa.string()),  # how the format was asked for: json_schema, json_object or text
        pa.field("asked", pa.string()),  # sha256 of prompt, model and sampling
        pa.field("tokens_in", pa.int32()),  # of all answers; null where the server does not count
        pa.field("tokens_out", pa.int32()),
        pa.field("requests", pa.int32()),  # sent for this clip
        pa.field("seconds", pa.float32()),  # that its answers took
    ]
)
REPAIR_CHARS = 4000


class Sampling(Section):
    """What of the params decides a reply, beside its prompt."""

    backend: str
    model: str
    max_tokens: int
    temperature: float
    seed: int


def first_request(prompt: Row) -> Messages:
    """The messages of a row of data/prompts."""
    return [{"role": role, "content": str(prompt[role])} for role in ("system", "user")]


def second_request(prompt: Row, answer: str, why: str) -> Messages:
    """The same, the answer that did not fit, and what is wrong with it."""
    return [
        *first_request(prompt),
        {"role": "assistant", "content": answer[:REPAIR_CHARS]},
        {"role": "user", "content": f"That answer does not fit: {why}. Answer again, with the one JSON object only."},
    ]


def why_not(answer: str, classes: Sequence[str], max_chars: int) -> str | None:
    """Why an answer does not fit, or None where it does."""
    try:
        parse_reply(answer, "", classes, max_chars)
    except UnparsableReply as error:
        return str(error)
    return None


def asked(prompt: Row, sampling: Sampling) -> str:
    """Hash of everything that decides a reply."""
    text = json.dumps([prompt["system"], prompt["user"], prompt["schema"], sampling.model_dump()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def status_of(answers: Sequence[str], reason: str | None, why: str | None) -> Row:
    """The part of a row that says what became of it.

    Args:
        answers: one or two.
        reason: why the first does not fit.
        why: why the last does not.
    """
    last = answers[-1] if why is None else None
    status = "fallback" if last is None else "ok" if len(answers) == 1 else "repaired"
    return {"reply": last, "status": status, "why": why or reason, "raw": list(answers)}
