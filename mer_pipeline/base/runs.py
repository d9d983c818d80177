"""What a run of a stage did, in `.mer/runs/<stage>.json`: of this machine, and never part of a stage's outputs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.config.project import Project

RUNS = Project().runs

# Called with the number of what is done, clips or members, and the number of all that there is to do.
Progress: TypeAlias = Callable[[int, int], None]


def quiet(done: int, total: int) -> None:
    """A Progress that tells nobody."""


ENOUGH = 200  # clips; the rate of fewer is mostly that of starting


@dataclass
class Seconds:
    """Where the time of a run went; prepare and infer are sums over threads.

    Attributes:
        prepare, infer: in the transform.
        wait: of the main thread, for them.
        write: of the main thread, for packs and shards.
    """

    prepare: float = 0.0
    infer: float = 0.0
    wait: float = 0.0
    write: float = 0.0


@dataclass
class Summary:
    """What a run did.

    Attributes:
        stage: name of the transform.
        clips: all of them.
        done: with a valid row.
        computed, reused: in this run, or known before.
        skipped: rows with nothing in them, by reason.
        failed: clips in the quarantine, by class of error.
        seconds: from start to end; `streamed` of them computing.
        spent: where they went.
        bytes_out, bytes_store: of the shards, and of what this process added to the store.
        set_aside: packs that could not be trusted, and why.
        rate: clips a second; of the last run that computed enough of them to tell, and `rated` says how many.
    """

    stage: str
    clips: int = 0
    done: int = 0
    computed: int = 0
    reused: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    streamed: float = 0.0
    spent: Seconds = field(default_factory=Seconds)
    bytes_out: int = 0
    bytes_store: int = 0
    set_aside: dict[str, str] = field(default_factory=dict)
    rate: float | None = None
    rated: int = 0

    def __str__(self) -> str:
        """One line for a person."""
        parts = [f"{self.stage}: {self.done} of {self.clips} clips in {self.seconds:.1f} s"]
        if self.reused:
            parts[0] += f", {self.reused} re-used"
        if self.skipped:
            parts.append(f"{self.skipped.total()} without ({_most(self.skipped)})")
        if self.failed:
            parts.append(f"{self.failed.total()} quarantined ({_most(self.failed)})")
        if self.set_aside:
            reasons = _most(Counter(self.set_aside.values()))
            parts.append(f"{len(self.set_aside)} damaged packs set aside ({reasons}) and their rows computed again")
        return "; ".join(parts)


def remember_run(summary: Summary) -> None:
    """Write `.mer/runs/<stage>.json`, keeping the rate of an earlier run where this one computed too few to tell."""
    before = read_run(summary.stage)
    if before is not None:
        summary.rate, summary.rated = before.rate, before.rated
    if summary.streamed > 0 and summary.computed >= max(1, min(summary.rated, ENOUGH)):
        summary.rate, summary.rated = summary.computed / summary.streamed, summary.computed
    text = json.dumps({**vars(summary), "spent": vars(summary.spent)}, indent=1, ensure_ascii=False)
    with suppress(OSError):  # the work is done; that nobody can say how is no reason to fail
        atomic_write(RUNS / f"{summary.stage}.json", text + "\n", shared=True)


def read_run(stage: str) -> Summary | None:
    """What the last run of a stage did, or None where nothing is known of one."""
    try:
        raw = json.loads((RUNS / f"{stage}.json").read_text(encoding="utf-8"))
        raw |= {"spent": Seconds(**raw["spent"]), "skipped": Counter(raw["skipped"]), "failed": Counter(raw["failed"])}
        run = Summary(**raw)
        numbers = (run.clips, run.computed, run.reused, run.seconds, run.bytes_out, run.rated, run.rate or 0)
        return run if all(isinstance(number, int | float) for number in numbers) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _most(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common(3))
