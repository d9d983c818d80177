"""Chat completions of OpenAI's API: how a request asks for JSON, and how the answer is read."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mer_pipeline.enrich.clean import plain

MODES = ("json_schema", "json_object", "text")  # ways to ask for JSON, the strictest first
RAW_CHARS = 32_000  # the most characters of an answer that are kept


@dataclass(frozen=True)
class Answer:
    """The answer to one clip's messages.

    Attributes:
        content: what the model wrote.
        model: the name that the server gives the model.
        tokens_in, tokens_out: how many tokens were read and written, as the server counts them; None if it does not.
        requests: the number of requests that were sent for the answer.
        seconds: how long the answered request took.
        mode: how JSON was asked for, one of MODES.
    """

    content: str
    model: str
    tokens_in: int | None
    tokens_out: int | None
    requests: int
    seconds: float
    mode: str


def response_format(mode: str, schema: object) -> dict[str, object]:
    """Return what is added to a request to ask for JSON.

    Args:
        mode: one of MODES.
        schema: the JSON schema of the reply.
    """
    if mode == "json_schema":
        named = {"name": "enrichment", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"response_format": {"type": "json_object"}} if mode == "json_object" else {}


def read_answer(raw: str, mode: str, seconds: float) -> Answer:
    """Read the first choice of a chat completion.

    Args:
        raw: the body of the server's response.
        mode: how JSON was asked for, one of MODES.
        seconds: how long the request took.

    Raises:
        ValueError: if the body is not a chat completion.
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
    if isinstance(content, list):  # some servers send the content in parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    # The length is limited, and unpaired surrogates are replaced, because no file can hold them.
    text = str(content or "")[:RAW_CHARS].encode("utf-8", "replace").decode()
    usage = data.get("usage")
    tokens_in, tokens_out = (_count(usage, f"{kind}_tokens") for kind in ("prompt", "completion"))
    return Answer(text, plain(str(data.get("model") or ""), 200), tokens_in, tokens_out, 1, seconds, mode)


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < 2**31 else None
