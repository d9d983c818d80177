"""The ledger: what a run asked for and what it cost, in requests, retries by reason, tokens and fallbacks.

`.mer/ledger.json` has the counts of the last run, with failed requests. What the replies in use have cost, in whatever
run they were asked for, is in the rows of the table `replies`.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.config.project import Project

LEDGER = Project().state / "ledger.json"
MILLION = 1_000_000


@dataclass
class Ledger:
    """The counts of one run. Any thread may add to them.

    Attributes:
        requests: the number of requests, answered or not.
        retries: the number of failed requests, by reason.
        answers: the number of clips, by status ("ok", "repaired", "fallback").
        tokens_in, tokens_out: tokens of all answers as the server counts them, also of answers that did not fit.
    """

    requests: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def sent(self) -> None:
        """Count a request."""
        with self._lock:
            self.requests += 1

    def failed(self, reason: str) -> None:
        """Count a request that failed and may be sent again."""
        with self._lock:
            self.retries[reason] += 1

    def paid(self, tokens_in: int | None, tokens_out: int | None) -> None:
        """Count the tokens of a request that was answered; None counts as 0."""
        with self._lock:
            self.tokens_in += tokens_in or 0
            self.tokens_out += tokens_out or 0

    def settled(self, status: str) -> None:
        """Count a clip that has its row."""
        with self._lock:
            self.answers[status] += 1

    def __str__(self) -> str:
        """Return one line that a person can read."""
        answers = ", ".join(f"{count} {status}" for status, count in self.answers.most_common())
        retried = ", ".join(f"{count} {reason}" for reason, count in self.retries.most_common(3))
        tokens = f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out"
        return f"asked: {self.requests} requests ({answers or 'none answered'}; {tokens})" + (
            f"; failed and sent again: {retried}" if retried else ""
        )

    def save(self) -> None:
        """Write the counts to `.mer/ledger.json`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        with suppress(OSError):  # the replies are there; that their cost is lost is no reason to fail
            atomic_write(LEDGER, json.dumps(values, indent=1) + "\n", shared=True)


def load_ledger() -> Ledger | None:
    """Read the ledger of the last run; None if there is none or it cannot be read."""
    try:
        raw = json.loads(LEDGER.read_text(encoding="utf-8"))
        return Ledger(**raw | {name: Counter(raw[name]) for name in ("retries", "answers")})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def cost(tokens_in: int, tokens_out: int, price_in: float, price_out: float) -> float:
    """Compute what tokens cost.

    Args:
        tokens_in, tokens_out: how many tokens were read and written.
        price_in, price_out: the prices per million tokens.

    Example:
        >>> cost(2_000_000, 100_000, price_in=0.5, price_out=2.0)
        1.2
    """
    return (tokens_in * price_in + tokens_out * price_out) / MILLION
