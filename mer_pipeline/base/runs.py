"""Record what a run of a stage did, in `.mer/runs/<stage>.json`.

These files belong to this machine and are never part of a stage's outputs.
"""

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

# A function that is called with the number of clips (or members) that are done and the number of all of them.
Progress: TypeAlias = Callable[[int, int], None]


def quiet(done: int, total: int) -> None:
    """Do nothing. This is the default Progress."""


ENOUGH = 200  # clips; with fewer, the start-up time dominates the rate


@dataclass
class Seconds:
    """How the time of a run was spent, in seconds.

    Attributes:
        prepare, infer: time in these methods of the transform, summed over threads.
        wait: time that the main thread waited for them.
        write: time that the main thread took to write packs and shards.
    """

    prepare: float = 0.0
    infer: float = 0.0
    wait: float = 0.0
    write: float = 0.0


@dataclass
class Summary:
    """What a run of a stage did.

    Attributes:
        stage: name of the transform.
        clips: number of all clips.
        done: number of clips with a valid row.
        computed, reused: number of clips that this run computed, and of those that were known before.
        skipped: number of skipped clips, by reason.
        failed: number of clips in the quarantine, by class of error.
        seconds: time from start to end.
        streamed: the part of `seconds` in which rows were computed.
        spent: how the time was spent.
        bytes_out, bytes_store: size of the shards, and of what this process added to the store.
        set_aside: the reason for each pack that was damaged and therefore not used, by the pack's name.
        rate: clips per second of the last run that computed enough clips for a reliable rate; None if there was none.
        rated: the number of clips that `rate` was measured on.
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
        """Return the summary as one line of text."""
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
    """Write `.mer/runs/<stage>.json`.

    If this run computed too few clips for a reliable rate, the rate of an earlier run is kept. A failure to write the
    file is ignored.
    """
    before = read_run(summary.stage)
    if before is not None:
        summary.rate, summary.rated = before.rate, before.rated
    if summary.streamed > 0 and summary.computed >= max(1, min(summary.rated, ENOUGH)):
        summary.rate, summary.rated = summary.computed / summary.streamed, summary.computed
    text = json.dumps({**vars(summary), "spent": vars(summary.spent)}, indent=1, ensure_ascii=False)
    with suppress(OSError):  # the rows are written; a missing record of the run is no reason to fail
        atomic_write(RUNS / f"{summary.stage}.json", text + "\n", shared=True)


def read_run(stage: str) -> Summary | None:
    """Read what the last run of a stage did; None if there is no readable record of one."""
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
