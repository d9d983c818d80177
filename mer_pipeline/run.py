"""Run any transform over the clips of its inputs and write its canonical shards.

    inputs ─► engine ─► rows ─► data/<stage>/part-*.parquet
                          └───► data/quarantine/<stage>.parquet   (clips that failed, each with its reason)

Nothing else in the project loops over clips.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mer_pipeline.clips import PROBLEM_SCHEMA, Clip, Row
from mer_pipeline.engines.local import Outcome, stream
from mer_pipeline.errors import TooManyFailed
from mer_pipeline.params import QualityParams, ShardParams
from mer_pipeline.runtime import Runtime
from mer_pipeline.store.inputs import Inputs
from mer_pipeline.store.rows import complete_row, stage_schema, to_table
from mer_pipeline.store.shards import new_folder, write_shard, write_table
from mer_pipeline.transform import Item, Transform

# Called with the number of clips done and the number of all.
Progress = Callable[[int, int], None]

RUNS = Path(".mer/runs")


@dataclass
class Summary:
    """What a run did. Timings are of this machine and never part of a stage's outputs."""

    stage: str
    clips: int = 0
    done: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line for a person."""
        parts = [f"{self.stage}: {self.done} of {self.clips} clips in {self.seconds:.1f} s"]
        if self.skipped:
            parts.append(f"{self.skipped.total()} without ({_most(self.skipped)})")
        if self.failed:
            parts.append(f"{self.failed.total()} quarantined ({_most(self.failed)})")
        return "; ".join(parts)


def run(
    transform: Transform[Item],
    places: Mapping[str, Path],
    out: Path,
    quarantine: Path,
    *,
    shards: ShardParams,
    quality: QualityParams,
    runtime: Runtime,
    progress: Progress = lambda done, total: None,
) -> Summary:
    """Compute a transform's rows and write them as canonical shards.

    Args:
        transform: what to do.
        places: where each table lies that the transform reads.
        out: the stage's folder; it appears whole or not at all.
        quarantine: Parquet file of the clips that failed (PROBLEM_SCHEMA), written even when empty.
        shards: how many.
        quality: how many clips may fail.
        runtime: this machine.
        progress: told after every clip.

    Raises:
        TooManyFailed: more than `quality.max_failed` of the clips failed; nothing but the quarantine is written.
        UsageError: a model or setting is unfit; nothing is written.
    """
    started = time.perf_counter()
    inputs = Inputs(transform.sources, places, shards.count)
    summary = Summary(transform.name, clips=len(inputs))
    schema = stage_schema(transform.schema)
    provenance = {"transform": transform.name, "params": transform.params.model_dump_json()}
    rows: dict[int, list[Row]] = {bucket: [] for bucket in range(shards.count)}
    waiting = dict.fromkeys(rows, 0)
    problems: list[Row] = []

    def clips() -> Iterator[tuple[int, Clip]]:
        for bucket in range(shards.count):
            yield from ((bucket, clip) for clip in inputs.clips(bucket))

    with new_folder(out) as folder:
        home: dict[str, int] = {}

        def feed() -> Iterator[Clip]:
            for bucket, clip in clips():
                home[clip.clip_id] = bucket
                waiting[bucket] += 1
                yield clip

        def finish(upto: int) -> None:
            """Write the shards before `upto` whose clips are all done, and let go of their rows."""
            for bucket in [b for b in rows if b < upto and not waiting[b]]:
                write_shard(folder, bucket, rows.pop(bucket), schema, {**provenance, "shard": str(bucket)})

        for seen, outcome in enumerate(stream(transform, feed(), runtime), start=1):
            bucket = home.pop(outcome.clip.clip_id)
            waiting[bucket] -= 1
            if outcome.failed is not None:
                summary.failed[type(outcome.failed).__name__] += 1
                problems.append(_problem(outcome))
            else:
                rows[bucket].append(_row(outcome, transform))
                summary.done += outcome.row is not None
                if outcome.skipped is not None:
                    summary.skipped[outcome.skipped] += 1
            # Clips come bucket by bucket: once one of a later bucket is in flight, the earlier are all known.
            finish(max(home.values(), default=0))
            progress(seen, summary.clips)
        write_problems(quarantine, problems)
        check_quality(transform.name, problems, summary.clips, quality, quarantine)
        finish(shards.count)
    summary.seconds = time.perf_counter() - started
    _remember(summary)
    return summary


def write_problems(path: Path, problems: Sequence[Row]) -> None:
    """Write a quarantine file, sorted by clip."""
    ordered = sorted(problems, key=lambda row: (str(row["clip_id"]), str(row["message"])))
    write_table(path, to_table(ordered, PROBLEM_SCHEMA))


def check_quality(stage: str, problems: Sequence[Row], clips: int, quality: QualityParams, quarantine: Path) -> None:
    """Stop a stage of which too much failed. In a small folder one broken clip is not too much, unless it is the only
    one or `max_failed` is 0.

    Raises:
        TooManyFailed: more than `quality.max_failed` of the clips are in the quarantine.
    """
    allowed = max(quality.max_failed * clips, 1 if quality.max_failed > 0 and clips > 1 else 0)
    if len(problems) > allowed:
        first = min(problems, key=lambda row: str(row["clip_id"]))
        raise TooManyFailed(
            f"{stage}: {len(problems)} of {clips} clips failed, more than quality.max_failed = {quality.max_failed:g}; "
            f"the first is '{first['clip_id']}': {first['message']} (all: {quarantine}). "
            "Mend or remove them, or raise quality.max_failed in params.yaml"
        )


def _row(outcome: Outcome, transform: Transform[Item]) -> Row:
    clip = outcome.clip
    return complete_row(clip.clip_id, clip.input_digest, outcome.row, outcome.skipped, transform.schema)


def _problem(outcome: Outcome) -> Row:
    error = outcome.failed
    return {
        "clip_id": outcome.clip.clip_id,
        "error": type(error).__name__,
        "message": str(error) or repr(error),
        "input_digest": outcome.clip.input_digest,
    }


def _remember(summary: Summary) -> None:
    RUNS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**vars(summary)}, indent=2, ensure_ascii=False)
    (RUNS / f"{summary.stage}.json").write_text(text + "\n", encoding="utf-8")


def _most(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common(3))
