"""A chat completion of an OpenAI-compatible API: how a format is asked for, and what an answer says."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mer_pipeline.enrich.clean import plain

MODES = ("json_schema", "json_object", "text")  # how strictly JSON is asked for
RAW_CHARS = 32_000


@dataclass(frozen=True)
class Answer:
    """What came back for one clip's messages.

    Attributes:
        content: what the model wrote.
        model: as the server calls it.
        tokens_in, tokens_out: as the server counts them; None where it does not.
        requests: sent for it.
        seconds: of the request that was answered.
        mode: of MODES.
    """

    content: str
    model: str
    tokens_in: int | None
    tokens_out: int | None
    requests: int
    seconds: float
    mode: str


def response_format(mode: str, schema: object) -> dict[str, object]:
    """What is added to a request that asks for JSON in one of MODES; `schema` is a JSON schema."""
    if mode == "json_schema":
        named = {"name": "enrichment", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"response_format": {"type": "json_object"}} if mode == "json_object" else {}


def read_answer(raw: str, mode: str, seconds: float) -> Answer:
    """The first choice of a chat completion.

    Raises:
        ValueError: it is none.
    """
    try:
        data = json.loads(raw)
    except RecursionError:
        raise ValueError("JSON of too many levels") from None
    match data:
        case {"choices": [{"message": {**message}}, *_]}:
            content = message.get("content")
        case _:
            raise ValueError("no chat completion")
    if isinstance(content, list):  # in parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    # Bounded, and without unpaired surrogates, which no file could take.
    text = str(content or "")[:RAW_CHARS].encode("utf-8", "replace").decode()
    usage = data.get("usage")
    tokens_in, tokens_out = (_count(usage, f"{kind}_tokens") for kind in ("prompt", "completion"))
    return Answer(text, plain(str(data.get("model") or ""), 200), tokens_in, tokens_out, 1, seconds, mode)


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < 2**31 else None
