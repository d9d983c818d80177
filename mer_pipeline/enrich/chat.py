"""Requests to an OpenAI-compatible server: many at once, each tried again as long as that is sensible.

    busy (429, 5xx), slow, cut off, or no JSON    tried again, with jitter, not before Retry-After
    `response_format` refused                     json_schema, then json_object, then without
    a setting refused by name                     asked without it, `max_tokens` under its newer name
    401, 403, 404                                 ends the run: no clip would fare better
    nothing but failures for a while              ends the run: what was answered is kept

An event loop in a thread of its own does the waiting; callers block. The key stands in a header and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TypeVar

import aiohttp
import tenacity

from mer_pipeline.enrich.clean import plain
from mer_pipeline.enrich.ledger import Ledger
from mer_pipeline.errors import StageError, Transient, UsageError
from mer_pipeline.runtime import LlmSettings, is_stopping, llm_url

MODES = ("json_schema", "json_object", "text")
BUSY = frozenset({408, 409, 425, 429})
SHUT = frozenset({401, 403, 404})
UNKNOWN = re.compile(r"unsupported|not support|unknown|unrecogni[sz]ed|not permitted|extra_forbidden", re.IGNORECASE)
RAW_CHARS = 32_000
SECRET_CHARS = 8
STOP_GRACE_S = 5.0  # after Ctrl-C, for answers that are on their way: they are paid for
TICK_S = 0.2
GONE = 8  # clips in a row that got no answer in all their tries, at the least

T = TypeVar("T")
Message = Mapping[str, str]


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


class Busy(Exception):
    """The server did not answer this time."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Refused(Exception):
    """The server does not take this request (400, 422)."""


class Chat:
    """A server, with what stays the same in all requests.

    Args:
        settings: where it is and how often it is asked.
        body: model and sampling.
        ledger: counts.
    """

    def __init__(self, settings: LlmSettings, body: Mapping[str, object], ledger: Ledger) -> None:
        self._settings, self._body, self._ledger = settings, body, ledger
        self._url = llm_url(settings)
        self._key = os.environ.get(settings.key_env, "").strip()
        if not self._key.isprintable():
            raise UsageError(f"the environment variable {settings.key_env} has control characters; set it to the key")
        self._mode = 0  # index of MODES, of the first that the server takes
        self._taken: set[int] = set()  # those in which a request was answered
        self._lost = 0  # clips in a row without an answer
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: aiohttp.ClientSession | None = None

    def ask(self, messages: Sequence[Message], schema: object) -> Answer:
        """Ask and wait for the answer. Any thread may call it.

        Raises:
            Transient: there was none in all tries.
            UsageError: the server does not let us in, or is not there.
            StageError: it stopped answering.
        """
        if is_stopping():
            raise Transient("stopped before it was asked", tried=True)
        self._open()
        try:
            answer = self._wait_for(self._ask(messages, schema))
        except (Busy, Refused) as error:
            self._count_lost(str(error))
            raise Transient(f"no answer: {error}", tried=True) from None
        self._lost = 0
        return answer

    def close(self) -> None:
        """Close connections."""
        with self._lock:
            if self._loop is None or self._session is None:
                return
            asyncio.run_coroutine_threadsafe(self._session.close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = self._session = None

    def _open(self) -> None:
        with self._lock:
            if self._loop is not None:
                return
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="chat", daemon=True).start()
            try:
                self._session = asyncio.run_coroutine_threadsafe(self._connect(), loop).result()
            except BaseException:
                loop.call_soon_threadsafe(loop.stop)
                raise
            self._loop = loop

    async def _connect(self) -> aiohttp.ClientSession:
        """A session, after a look whether anybody is there: a wrong address should not cost a round of retries."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
            connector=aiohttp.TCPConnector(limit=self._settings.in_flight),
        )
        try:
            # Whatever the status: keys may be good for chat alone.
            async with session.get(f"{self._url}/models", timeout=aiohttp.ClientTimeout(total=10)):
                pass
        except aiohttp.ClientConnectorError:
            await session.close()
            raise UsageError(
                f"no server at {self._url}; start it, set url under [llm] in .mer.toml or MER_LLM_URL, or set "
                "enrich.offline or enrich.backend: template in params.yaml"
            ) from None
        except (aiohttp.ClientError, TimeoutError):
            pass  # somebody is there; whether they answer will be seen
        except BaseException:
            await session.close()
            raise
        return session

    def _wait_for(self, work: Coroutine[object, object, T]) -> T:
        assert self._loop is not None
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        stopped_at: float | None = None
        while True:
            try:
                return future.result(timeout=TICK_S)
            except TimeoutError:
                if future.done():
                    raise
            if is_stopping():
                stopped_at = stopped_at or time.monotonic()
                if time.monotonic() - stopped_at > STOP_GRACE_S:
                    future.cancel()
                    raise Transient("stopped before an answer came", tried=True)

    async def _ask(self, messages: Sequence[Message], schema: object) -> Answer:
        sent = 0
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Busy),
            stop=tenacity.stop_after_attempt(self._settings.tries),
            wait=self._pause,
            sleep=_sleep,
            reraise=True,
        ):
            with attempt:
                first = self._mode
                for mode in range(first, len(MODES)):
                    sent, settings = sent + 1, self._body
                    try:
                        answer = await self._once(messages, schema, MODES[mode])
                    except Refused as refusal:
                        if self._adapt(str(refusal), settings):
                            raise self._busy("a setting that the server does not know", 0.0) from None
                        if mode == len(MODES) - 1:
                            raise
                        continue
                    if first not in self._taken:  # else it is this clip that was refused, and not the format
                        self._mode = max(self._mode, mode)
                    self._taken.add(mode)
                    return replace(answer, requests=sent)
        raise AssertionError("unreachable")

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Full jitter under a doubling bound, and not before the server wants to be asked again."""
        error = state.outcome.exception() if state.outcome is not None else None
        longest = self._settings.max_pause_s
        pause = random.uniform(0, min(longest, 0.5 * 2**state.attempt_number))
        if isinstance(error, Busy) and error.retry_after is not None:
            # A little later than told, so that not everybody comes back at once.
            pause = error.retry_after * random.uniform(1.0, 1.25)
        return min(pause, longest)

    async def _once(self, messages: Sequence[Message], schema: object, mode: str) -> Answer:
        assert self._session is not None
        body = {**self._body, "messages": list(messages), **_format(mode, schema)}
        self._ledger.sent()
        started = time.monotonic()
        try:
            async with self._session.post(f"{self._url}/chat/completions", json=body) as response:
                raw = await response.text(errors="replace")
        except TimeoutError:
            raise self._busy(f"no answer within {self._settings.timeout_s:g} s") from None
        except aiohttp.ClientConnectorError:
            raise self._busy("cannot connect") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise self._busy("connection cut") from None
        status = response.status
        if status in BUSY or status >= 500:
            raise self._busy(f"HTTP {status}", _retry_after(response.headers.get("Retry-After")))
        said = plain(self._redact(raw), 200)  # in this order: half a key is no key that could be found
        self._raise_if_shut(status, said)
        if status != 200:
            raise Refused(f"HTTP {status}: {said}")
        try:
            answer = _answer(json.loads(self._redact(raw)), mode, time.monotonic() - started)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise self._busy("an answer that is no chat completion") from None
        self._ledger.paid(answer.tokens_in, answer.tokens_out)
        # Once more: in JSON a key may have stood with escapes.
        return replace(answer, content=self._redact(answer.content), model=self._redact(answer.model))

    def _adapt(self, refusal: str, sent: Mapping[str, object]) -> bool:
        """Leave out, or rename, a setting that the server says it does not know; False where it says no such thing.

        `sent` are the settings that were refused: another request may have found out meanwhile.
        """
        if not UNKNOWN.search(refusal):
            return False
        for name in ("max_tokens", "temperature", "seed"):
            if name in sent and re.search(rf"\b{name}\b", refusal):
                if name not in self._body:
                    return True
                if self._taken:  # the server knows it well: it is about this clip
                    return False
                other = {key: value for key, value in self._body.items() if key != name}
                self._body = other | ({"max_completion_tokens": self._body[name]} if name == "max_tokens" else {})
                return True
        return False

    def _busy(self, reason: str, retry_after: float | None = None) -> Busy:
        self._ledger.failed(reason)
        return Busy(reason, retry_after)

    def _raise_if_shut(self, status: int, said: str) -> None:
        if status in SHUT:
            about = f": {said}" if said else ""
            asked = f"is {self._settings.key_env} set to its key?"
            wrong = "is enrich.model its name there, and does the address end as it should (/v1)?"
            key = wrong if status == 404 else asked
            raise UsageError(f"the server at {self._url} answers HTTP {status}{about}; {key}")

    def _redact(self, text: str) -> str:
        # Local servers want any key, and people write "none": that is no secret, and a word that models use.
        return text.replace(self._key, "[key]") if len(self._key) >= SECRET_CHARS else text

    def _count_lost(self, reason: str) -> None:
        with self._lock:
            self._lost += 1
            if self._lost >= max(GONE, self._settings.in_flight):
                raise StageError(
                    f"the server at {self._url} left {self._lost} clips in a row without an answer (last: {reason}); "
                    "the replies so far are kept: see to the server and run the stage again"
                )


async def _sleep(seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if is_stopping():
            raise Busy("stopped")
        await asyncio.sleep(min(left, TICK_S))


def _format(mode: str, schema: object) -> dict[str, object]:
    if mode == "json_schema":
        named = {"name": "enrichment", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"response_format": {"type": "json_object"}} if mode == "json_object" else {}


def _answer(data: Mapping[str, object], mode: str, seconds: float) -> Answer:
    choices, usage = data["choices"], data.get("usage")
    if not isinstance(choices, list):
        raise TypeError("choices")
    content = choices[0]["message"].get("content")
    if isinstance(content, list):  # in parts
        content = "".join(str(part.get("text") or "") for part in content)
    counts = usage if isinstance(usage, Mapping) else {}
    tokens = [_count(counts.get(f"{kind}_tokens")) for kind in KINDS]
    # Bounded, and without unpaired surrogates, which no file could take.
    text = str(content or "")[:RAW_CHARS].encode("utf-8", "replace").decode()
    return Answer(text, plain(str(data.get("model") or ""), 200), tokens[0], tokens[1], 1, seconds, mode)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**31 else None


KINDS = ("prompt", "completion")


def _retry_after(text: str | None) -> float | None:
    """Seconds; the form with a date is rare and waits as if nothing was said."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
