"""What a run asked for and what it cost: requests, retries by reason, tokens, fallbacks.

`.mer/ledger.json` has the last run's, with the tries that led to nothing; what all replies in use took, whoever
asked for them, stands in their rows.
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
    """Counters of one run; threads add to it.

    Attributes:
        requests: sent, answered or not.
        retries: requests that were sent again, by what had gone wrong.
        answers: clips by status ("ok", "repaired", "fallback").
        tokens_in, tokens_out: as the server counts them, of all answers, also of those that did not fit.
    """

    requests: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def sent(self) -> None:
        """A request leaves."""
        with self._lock:
            self.requests += 1

    def failed(self, reason: str) -> None:
        """A request led to nothing and may be sent again."""
        with self._lock:
            self.retries[reason] += 1

    def paid(self, tokens_in: int | None, tokens_out: int | None) -> None:
        """A request was answered."""
        with self._lock:
            self.tokens_in += tokens_in or 0
            self.tokens_out += tokens_out or 0

    def settled(self, status: str) -> None:
        """A clip has its row."""
        with self._lock:
            self.answers[status] += 1

    def __str__(self) -> str:
        """One line for a person."""
        answers = ", ".join(f"{count} {status}" for status, count in self.answers.most_common())
        retried = ", ".join(f"{count} {reason}" for reason, count in self.retries.most_common(3))
        tokens = f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out"
        return f"asked: {self.requests} requests ({answers or 'none answered'}; {tokens})" + (
            f"; failed and sent again: {retried}" if retried else ""
        )

    def save(self) -> None:
        """Write `.mer/ledger.json`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        with suppress(OSError):  # the replies are there; that nobody can say what they cost is no reason to fail
            atomic_write(LEDGER, json.dumps(values, indent=1) + "\n", shared=True)


def load_ledger() -> Ledger | None:
    """The last run's, or None where there was none."""
    try:
        raw = json.loads(LEDGER.read_text(encoding="utf-8"))
        return Ledger(**raw | {name: Counter(raw[name]) for name in ("retries", "answers")})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def cost(tokens_in: int, tokens_out: int, price_in: float, price_out: float) -> float:
    """In the currency of the prices, which are per million tokens."""
    return (tokens_in * price_in + tokens_out * price_out) / MILLION
