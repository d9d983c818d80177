"""Requests to a server with OpenAI's API. A request that fails is sent again as long as that is sensible.

    busy (429, 5xx), slow, cut off, too long,
    no JSON, or an error with status 200          sent again after a random pause, not before Retry-After
    `response_format` is refused                  json_schema first, then json_object, then nothing
    a setting is refused by name                  sent again without it; `max_tokens` under its newer name
    401, 403, 404, a redirect                     the run ends, because all clips would fail
    no money left, many clips in a row fail       the run ends; the replies so far are kept

Many threads send requests at once, each with its own connection (`http.py`). The key is sent in a header only, and is
replaced in every text that comes back if it has at least SECRET_CHARS characters.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import tenacity

from mer_pipeline.base.errors import StageError, Transient, UsageError
from mer_pipeline.base.runtime import LlmSettings, is_stopping, llm_url
from mer_pipeline.enrich import completion
from mer_pipeline.enrich.clean import plain
from mer_pipeline.enrich.completion import MODES, Answer, Fault, read_answer, read_fault, response_format, retry_after
from mer_pipeline.enrich.http import MAX_BYTES, TICK_S, CannotConnect, Cut, Http, Patience, TooLong
from mer_pipeline.enrich.ledger import Ledger

BUSY = frozenset({408, 409, 425, 429})  # statuses after which a request is sent again
SHUT = frozenset({401, 403, 404})  # statuses that end the run
UNKNOWN = re.compile(r"unsupported|not support|unknown|unrecogni[sz]ed|not permitted|extra_forbidden", re.IGNORECASE)
SECRET_CHARS = 8  # a key of at least this length is a secret
STOP_GRACE_S = 5.0  # seconds after Ctrl-C in which answers are still waited for, because they are paid for
LOOK_S = 10.0  # seconds for the first request, which checks whether there is a server
GONE = 8  # the run ends after at least this many clips in a row without an answer

Message = Mapping[str, str]


class Busy(Exception):
    """The server did not answer this time."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Refused(Exception):
    """The server refused this request, for instance with HTTP 400 or 422."""


class Stopping(Exception):
    """The run was stopped by Ctrl-C or SIGTERM, and the time to wait for answers is over."""


class Chat:
    """A server, with the settings that all requests share.

    Args:
        settings: where the server is and how often it is asked.
        body: the model and its sampling, as fields of a request.
        ledger: counts requests and tokens.

    Raises:
        UsageError: if the key has control characters, or the address of the server is not usable.
    """

    def __init__(self, settings: LlmSettings, body: Mapping[str, object], ledger: Ledger) -> None:
        self._settings, self._body, self._ledger = settings, body, ledger
        self._url = llm_url(settings)
        self._key = os.environ.get(settings.key_env, "").strip()
        if not self._key.isprintable():
            raise UsageError(f"the environment variable {settings.key_env} has control characters; set it to the key")
        headers = {"Content-Type": "application/json", "User-Agent": "mer-pipeline"}
        self._http = Http(self._url, headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {}))
        self._looking, self._is_there = threading.Lock(), False
        self._lock = threading.Lock()  # guards what follows, which all threads change
        self._mode = 0  # index in MODES of the first one that the server accepts
        self._taken: set[int] = set()  # indices of the modes in which a request was answered
        self._lost = 0  # number of clips in a row without an answer

    def ask(self, messages: Sequence[Message], schema: object) -> Answer:
        """Send messages and wait for the answer. Any thread may call it.

        Args:
            messages: with the keys "role" and "content".
            schema: the JSON schema of the reply.

        Raises:
            Transient: if there was no answer in all tries, or the run was stopped.
            UsageError: if there is no server, or it refuses the key, the model or the address.
            StageError: if many clips in a row got no answer, or the account has no money left.
        """
        if is_stopping():
            raise Transient("stopped before it was asked", tried=True)
        self._look()
        try:
            answer = self._ask(messages, schema)
        except Stopping:
            raise Transient("stopped before an answer came", tried=True) from None
        except (Busy, Refused) as error:
            self._count_lost(str(error))
            raise Transient(f"no answer: {error}", tried=True) from None
        with self._lock:
            self._lost = 0
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _look(self) -> None:
        """Check once whether there is a server, so that a wrong address is an error at once and not after all retries.

        Raises:
            UsageError: if nothing accepts the connection.
            Transient: if the run was stopped.
        """
        with self._looking:
            if self._is_there:
                return
            try:  # any status will do: a key may be valid for chat only
                self._http.request("GET", "/models", None, LOOK_S, _patience(LOOK_S))
            except CannotConnect:
                raise UsageError(
                    f"no server at {self._url}; start it, or set url under [llm] in .mer.toml or MER_LLM_URL; to do "
                    "without a language model run `mer init --no-llm`, or set enrich.backend: template in params.yaml "
                    "(docs/enrichment.md); to use the known replies alone set enrich.offline"
                ) from None
            except Stopping:
                raise Transient("stopped before it was asked", tried=True) from None
            except (Cut, TooLong, TimeoutError):
                pass  # there is a server; later requests show whether it answers
            self._is_there = True

    def _ask(self, messages: Sequence[Message], schema: object) -> Answer:
        sent = 0
        for attempt in tenacity.Retrying(
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
                        answer = self._once(messages, schema, MODES[mode], settings)
                    except Refused as refusal:
                        if self._adapt(str(refusal), settings):
                            raise self._busy("a setting that the server does not know", 0.0) from None
                        if mode == len(MODES) - 1:
                            raise
                        continue
                    with self._lock:
                        if first not in self._taken:  # else the server refused this clip, and not the format
                            self._mode = max(self._mode, mode)
                        self._taken.add(mode)
                    return replace(answer, requests=sent)
        raise AssertionError("unreachable")

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Return the pause in seconds: random below a bound that doubles, or what the server's Retry-After says."""
        error = state.outcome.exception() if state.outcome is not None else None
        longest = self._settings.max_pause_s
        pause = random.uniform(0, min(longest, 0.5 * 2**state.attempt_number))
        if isinstance(error, Busy) and error.retry_after is not None:
            # A little later than the server said, so that not all requests come at once.
            pause = error.retry_after * random.uniform(1.0, 1.25)
        return min(pause, longest)

    def _once(self, messages: Sequence[Message], schema: object, mode: str, settings: Mapping[str, object]) -> Answer:
        body = {**settings, "messages": list(messages), **response_format(mode, schema)}
        self._ledger.sent()
        started, timeout_s = time.monotonic(), self._settings.timeout_s
        try:
            reply = self._http.request(
                "POST", "/chat/completions", json.dumps(body).encode(), timeout_s, _patience(timeout_s)
            )
        except TimeoutError:
            raise self._busy(f"no answer within {timeout_s:g} s") from None
        except CannotConnect:
            raise self._busy("cannot connect") from None
        except Cut:
            raise self._busy("connection cut") from None
        except TooLong:
            raise self._busy(f"an answer of more than {MAX_BYTES >> 20} MiB") from None
        status, raw = reply.status, reply.body.decode("utf-8", "replace")
        fault = read_fault(raw)
        what = f"HTTP {status}"
        if status == 200 and fault is not None:
            status = fault.status or 500
            what = f"HTTP 200 with an error{f' {fault.status}' if fault.status else ''}"
        said = plain(self._redact(fault.message if fault else raw), 200)  # in this order: half a key cannot be found
        self._raise_if_no_money(status, fault, said)
        if status in BUSY or status >= 500:
            raise self._busy(what, retry_after(reply.headers), said if fault else "")
        said = plain(self._redact(raw), 200)  # whole: a setting's name may stand beside the message
        self._raise_if_shut(status, said)
        if status != 200:
            raise Refused(f"{what}: {said}")
        try:
            answer = read_answer(self._redact(raw), mode, time.monotonic() - started)
        except ValueError:
            raise self._busy("an answer that is no chat completion") from None
        self._ledger.paid(answer.tokens_in, answer.tokens_out)
        # Once more, because the key may have been written with escapes in the JSON.
        return replace(answer, content=self._redact(answer.content), model=self._redact(answer.model))

    def _adapt(self, refusal: str, sent: Mapping[str, object]) -> bool:
        """Leave out or rename a setting if the server says that it does not know it.

        Args:
            refusal: what the server said.
            sent: the settings that were refused; another thread may have changed the settings since then.

        Returns:
            Whether the request should be sent again with other settings.
        """
        if not UNKNOWN.search(refusal):
            return False
        with self._lock:
            for name in ("max_tokens", "temperature", "seed"):
                if name in sent and re.search(rf"\b{name}\b", refusal):
                    if name not in self._body:
                        return True
                    if self._taken:  # the server has accepted this setting before: it refuses this clip
                        return False
                    other = {key: value for key, value in self._body.items() if key != name}
                    renamed = {"max_completion_tokens": self._body[name]} if name == "max_tokens" else {}
                    self._body = other | renamed
                    return True
        return False

    def _busy(self, reason: str, wait_s: float | None = None, said: str = "") -> Busy:
        self._ledger.failed(reason)
        return Busy(f"{reason}: {said}" if said else reason, wait_s)

    def _raise_if_no_money(self, status: int, fault: Fault | None, said: str) -> None:
        if completion.has_no_money(status, fault):
            raise StageError(
                f"the server at {self._url} answers HTTP {status}: {said}; the replies so far are kept: see to the "
                "account and run the stage again"
            )

    def _raise_if_shut(self, status: int, said: str) -> None:
        if status in SHUT or 300 <= status < 400:
            about = f": {said}" if said else ""
            asked = f"is {self._settings.key_env} set to its key?"
            wrong = "is enrich.model its name there, and does the address end as it should (/v1)?"
            key = wrong if status == 404 or status < 400 else asked
            raise UsageError(f"the server at {self._url} answers HTTP {status}{about}; {key}")

    def _redact(self, text: str) -> str:
        # Local servers accept any key, and people write "none": that is no secret, and models use the word.
        return text.replace(self._key, "[key]") if len(self._key) >= SECRET_CHARS else text

    def _count_lost(self, reason: str) -> None:
        with self._lock:
            self._lost += 1
            if self._lost >= max(GONE, self._settings.in_flight):
                raise StageError(
                    f"the server at {self._url} left {self._lost} clips in a row without an answer (last: {reason}); "
                    "the replies so far are kept: see to the server and run the stage again"
                )


def _patience(timeout_s: float) -> Patience:
    """Return a function that ends a request when its time is over, or at most STOP_GRACE_S seconds after Ctrl-C.

    The function raises TimeoutError or Stopping then.
    """
    until, stopped = time.monotonic() + timeout_s, False

    def look() -> None:
        nonlocal until, stopped
        if is_stopping() and not stopped:
            until, stopped = min(until, time.monotonic() + STOP_GRACE_S), True
        if time.monotonic() > until:
            raise Stopping if stopped else TimeoutError

    return look


def _sleep(seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if is_stopping():
            raise Stopping
        time.sleep(min(left, TICK_S))
