"""A chat completion of an OpenAI-compatible API: how a format is asked for, what an answer says, and what an error.

Servers report errors in several shapes, and some with status 200.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mer_pipeline.enrich.clean import plain
from mer_pipeline.enrich.reply import THOUGHTS

MODES = ("json_schema", "json_object", "text")  # ways to ask for JSON, the strictest first
RAW_CHARS = 32_000  # the most characters of an answer that are kept
# The status 402, and the codes of providers in the body of a 429, 403 or 400, after which waiting does not help.
NO_MONEY = frozenset({
    "402", "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance",
    "insufficient_credits", "insufficient_funds", "billing_error",
})  # fmt: skip


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


@dataclass(frozen=True)
class Fault:
    """What a server says went wrong.

    Attributes:
        message: in its own words; "" where it has none.
        words: its codes for the kind of error, such as "insufficient_quota".
        status: the HTTP status that it names in the body; None where it names none.
    """

    message: str
    words: frozenset[str]
    status: int | None


def has_no_money(status: int, fault: Fault | None) -> bool:
    """Say whether an answer means that the account has no money left."""
    return bool(NO_MONEY & {str(status), *(fault.words if fault else ())})


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
    match _json(raw):
        case {"choices": [{"message": {**message}}, *_], **data}:
            content = message.get("content")
        case _:
            raise ValueError("no chat completion")
    if isinstance(content, list):  # some servers send the content in parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if not content and (thoughts := message.get("reasoning_content") or message.get("reasoning")):
        content = f"{THOUGHTS[0][0]}{thoughts}"  # as a server writes it that does not tell thoughts from answers
    content = content or message.get("refusal")
    # Bounded, and without unpaired surrogates, which no file could take.
    text = str(content or "")[:RAW_CHARS].encode("utf-8", "replace").decode()
    usage = data.get("usage")
    tokens_in, tokens_out = (_count(usage, f"{kind}_tokens") for kind in ("prompt", "completion"))
    return Answer(text, plain(str(data.get("model") or ""), 200), tokens_in, tokens_out, 1, seconds, mode)


def read_fault(raw: str) -> Fault | None:
    """The error in a server's reply, whatever its status; None where it tells of none."""
    try:
        data = _json(raw)
    except ValueError:
        return None
    match data:
        case {"error": error} if error:
            pass
        case {"choices": [{"error": error}, *_]} if error:
            pass
        case {"object": "error"}:
            error = data
        case {"detail": str(error)}:
            pass
        case _:
            return None
    if not isinstance(error, dict):
        return Fault(str(error), frozenset(), None)
    words = [str(error.get(name)).lower() for name in ("code", "type", "status")]
    status = next((int(word) for word in words if re.fullmatch("[45][0-9]{2}", word)), None)
    message = error.get("message")
    return Fault(message if isinstance(message, str) else "", frozenset(words), status)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until a server wants to be asked again; None where it does not say.

    Args:
        headers: of its reply, names in lower case. A date is compared with the server's own clock, where it tells it.
    """
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
            seconds = max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
        except (ValueError, TypeError, OverflowError):  # no date, or one without a time zone
            return None
    return seconds if 0 <= seconds < float("inf") else None


def _json(raw: str) -> object:
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("JSON of too many levels") from None


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**31 else None
