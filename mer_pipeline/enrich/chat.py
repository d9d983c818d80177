"""Requests to an OpenAI-compatible server, each tried again as long as that is sensible.

    busy (429, 5xx), slow, cut off, too long,
    no JSON, or an error with status 200          tried again, with jitter, not before Retry-After
    `response_format` refused                     json_schema, then json_object, then without
    a setting refused by name                     asked without it, `max_tokens` under its newer name
    401, 403, 404, a redirect                     ends the run: no clip would fare better
    the account has no money left                 ends the run likewise: what was answered is kept
    nothing but failures for a while              ends the run: what was answered is kept

Many threads ask at once, each for itself (`http.py`). The key stands in a header and nowhere else.
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
from mer_pipeline.enrich.clean import plain
from mer_pipeline.enrich.completion import MODES, Answer, Fault, read_answer, read_fault, response_format, retry_after
from mer_pipeline.enrich.http import MAX_BYTES, TICK_S, CannotConnect, Cut, Http, Patience, TooLong
from mer_pipeline.enrich.ledger import Ledger

BUSY = frozenset({408, 409, 425, 429})
SHUT = frozenset({401, 403, 404})
# Waiting does not help: 402, and what providers call it in the body of a 429, a 403 or a 400.
NO_MONEY = frozenset({
    "402", "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance",
    "insufficient_credits", "insufficient_funds", "billing_error",
})  # fmt: skip
UNKNOWN = re.compile(r"unsupported|not support|unknown|unrecogni[sz]ed|not permitted|extra_forbidden", re.IGNORECASE)
SECRET_CHARS = 8
STOP_GRACE_S = 5.0  # after Ctrl-C, for answers that are on their way: they are paid for
LOOK_S = 10.0  # for a first look whether anybody is there
GONE = 8  # clips in a row that got no answer in all their tries, at the least

Message = Mapping[str, str]


class Busy(Exception):
    """The server did not answer this time."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Refused(Exception):
    """The server does not take this request (400, 422)."""


class Stopping(Exception):
    """Ctrl-C or SIGTERM came, and there is no time left."""


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
        headers = {"Content-Type": "application/json", "User-Agent": "mer-pipeline"}
        self._http = Http(self._url, headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {}))
        self._looking, self._is_there = threading.Lock(), False
        self._lock = threading.Lock()  # of what follows, which all threads find out together
        self._mode = 0  # index of MODES, of the first that the server takes
        self._taken: set[int] = set()  # those in which a request was answered
        self._lost = 0  # clips in a row without an answer

    def ask(self, messages: Sequence[Message], schema: object) -> Answer:
        """Ask and wait for the answer. Any thread may call it.

        Raises:
            Transient: there was none in all tries.
            UsageError: the server does not let us in, or is not there.
            StageError: it stopped answering, or the account has no money left.
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
        """Close connections."""
        self._http.close()

    def _look(self) -> None:
        """Look once whether anybody is there: a wrong address should not cost a round of retries."""
        with self._looking:
            if self._is_there:
                return
            try:  # whatever the status: keys may be good for chat alone
                self._http.request("GET", "/models", None, LOOK_S, _patience(LOOK_S))
            except CannotConnect:
                raise UsageError(
                    f"no server at {self._url}; start it, set url under [llm] in .mer.toml or MER_LLM_URL, or set "
                    "enrich.offline or enrich.backend: template in params.yaml"
                ) from None
            except Stopping:
                raise Transient("stopped before it was asked", tried=True) from None
            except (Cut, TooLong, TimeoutError):
                pass  # somebody is there; whether they answer will be seen
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
        # Once more: in JSON a key may have stood with escapes.
        return replace(answer, content=self._redact(answer.content), model=self._redact(answer.model))

    def _adapt(self, refusal: str, sent: Mapping[str, object]) -> bool:
        """Leave out, or rename, a setting that the server says it does not know; False where it says no such thing.

        `sent` are the settings that were refused: another request may have found out meanwhile.
        """
        if not UNKNOWN.search(refusal):
            return False
        with self._lock:
            for name in ("max_tokens", "temperature", "seed"):
                if name in sent and re.search(rf"\b{name}\b", refusal):
                    if name not in self._body:
                        return True
                    if self._taken:  # the server knows it well: it is about this clip
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
        if NO_MONEY & {str(status), *(fault.words if fault else ())}:
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


def _patience(timeout_s: float) -> Patience:
    """Wait so long for an answer; after Ctrl-C, STOP_GRACE_S more at the most.

    It raises TimeoutError and Stopping.
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
