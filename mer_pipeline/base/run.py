"""Run any transform over the clips of its inputs, and compute only the rows that the store does not have.

    inputs ─► keys ─► missing? ─── no ──────────────────────► rows ─► data/<stage>/part-*.parquet
                        └── yes ─► engine ─► row cache ──────┘
                                      └─────────────────────► data/quarantine/<stage>.parquet  (each with its reason)

The bytes of the shards depend on the inputs alone. It makes no difference which rows the store had, or whether an
earlier run was interrupted or a file of the store was lost. All stages that compute rows use this one loop over clips.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, cast

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Bug
from mer_pipeline.base.outcome import Outcome
from mer_pipeline.base.runs import Progress, Summary, quiet, remember_run
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.config.components import ENGINES
from mer_pipeline.engines.base import Engine
from mer_pipeline.store.inputs import Inputs, Keys
from mer_pipeline.store.root import disk_errors
from mer_pipeline.store.row_cache import RowCache, row_cache_of
from mer_pipeline.tables.quarantine import QualityParams, check_quality, write_problems
from mer_pipeline.tables.shards import ShardParams, new_folder, read_folder, shard_name, shard_of

# A function that takes a shard's keys and the names of some of its clips, and gives these clips.
ClipsOf: TypeAlias = Callable[[Keys, Collection[str]], Iterator[Clip]]

log = logging.getLogger(__name__)


def run(
    transform: Transform[Item],
    places: Mapping[str, Path],
    out: Path,
    quarantine: Path,
    *,
    shards: ShardParams,
    quality: QualityParams,
    runtime: Runtime,
    progress: Progress = quiet,
    record: bool = True,
) -> Summary:
    """Get all rows of a transform, from the store or by computing them, and write them as shards.

    Args:
        transform: the transform.
        places: the path of each table that the transform reads, by the table's name.
        out: the stage's folder; it appears complete or not at all.
        quarantine: the Parquet file of the clips that failed (`PROBLEM_SCHEMA`); it is written even when empty.
        shards: the number of shards.
        quality: how many clips may fail.
        runtime: the settings of this machine, with its store and its engine.
        progress: called as clips are computed.
        record: whether `mer runs` and `mer plan` are to know of this run.

    Returns:
        What the run did.

    Raises:
        TooManyFailed: more than `quality.max_failed` of the clips failed. Only the quarantine is written.
        Bug: the code failed for every clip of the first batch. Only the quarantine is written.
        UsageError: a model or a setting does not fit. Nothing is written.
        StoreError: the store is full, read-only or cannot be reached. Rows that were stored before are kept.
    """
    started = time.perf_counter()
    cache = row_cache_of(transform, runtime, shards.count)
    inputs = Inputs(transform.sources, places, shards.count)
    every = [inputs.keys(shard) for shard in range(shards.count)]
    summary = Summary(transform.name, clips=sum(len(keys.clip_ids) for keys in every))
    with disk_errors(out.parent), new_folder(out) as folder, closing(transform):
        try:
            kind = cast("type[Engine[Item]]", ENGINES.load(runtime.engine))
            engine = kind(transform, runtime, shards.count)
            unwritten = every
            while unwritten:  # one pass, unless a pack turns out to be damaged when it is read
                whole = compute(
                    engine, cache, unwritten, inputs.clips, summary=summary, progress=progress, first=runtime.batch
                )
                with closing(whole):
                    written = {keys.shard for keys in whole if cache.write(keys, folder / shard_name(keys.shard))}
                unwritten = [keys for keys in unwritten if keys.shard not in written]
        except Bug:
            write_problems(quarantine, _failures(cache, every))
            raise
        problems = _failures(cache, every)
        write_problems(quarantine, problems)
        check_quality(transform.name, problems, summary.clips, quality, quarantine)
    cache.close()
    states = read_folder(out, ["valid", "reason"])
    summary.done = sum(states["valid"].to_pylist())
    summary.reused = summary.clips - summary.computed
    summary.spent = replace(engine.spent, write=cache.seconds)
    summary.skipped = Counter(reason for reason in states["reason"].to_pylist() if reason is not None)
    summary.failed = Counter(str(problem["error"]) for problem in problems)
    summary.seconds = time.perf_counter() - started
    summary.bytes_out = sum(path.stat().st_size for path in out.iterdir())
    summary.bytes_store, summary.set_aside = cache.written, dict(cache.set_aside)
    if record:
        remember_run(summary)
    return summary


def compute(
    engine: Engine[Item],
    cache: RowCache,
    every: Sequence[Keys],
    clips_of: ClipsOf,
    *,
    summary: Summary,
    progress: Progress,
    first: int,
) -> Generator[Keys, None, None]:
    """Compute the rows that the cache lacks.

    The caller must close this generator; it then stops the engine and stores what was computed.

    Args:
        engine: computes the rows.
        cache: takes the outcomes.
        every: the keys of the wanted shards.
        clips_of: reads clips.
        summary: its `computed` and `streamed` are increased.
        progress: called as clips are computed.
        first: the number of clips in the first batch.

    Yields:
        The keys of each shard, as soon as none of its clips is missing.

    Raises:
        Bug, UsageError, StoreError: as in `run`.
    """
    missing = {keys.shard: set(cache.missing(keys)) for keys in every}
    cache.open(sum(map(len, missing.values())))
    for keys in every:
        if not missing[keys.shard]:
            yield keys
    # While the caller wrote these shards, a pack may have turned out to be damaged; its rows are missing now.
    missing = {keys.shard: set(cache.missing(keys)) for keys in every}
    total = sum(map(len, missing.values()))
    if not total:
        return
    cache.open(total)
    engine.set_up()
    of_shard = {keys.shard: keys for keys in every}
    wanted = [(keys, frozenset(missing[keys.shard])) for keys in every]
    bugs = _Bugs(cache.name, min(first, total) if total == sum(len(keys.clip_ids) for keys in every) else None)
    started, writing = time.perf_counter(), cache.seconds
    try:
        for outcomes in engine.outcomes(clip for keys, names in wanted for clip in clips_of(keys, names)):
            cache.add(outcomes)
            bugs.see(outcomes)
            summary.computed += len(outcomes)
            progress(summary.computed, max(total, summary.computed))
            shards = {shard_of(outcome.clip_id, cache.shards) for outcome in outcomes}
            for outcome in outcomes:
                missing[shard_of(outcome.clip_id, cache.shards)].discard(outcome.clip_id)
            yield from (of_shard[shard] for shard in sorted(shards) if not missing[shard])
    finally:
        cache.add(engine.stop())
        cache.flush()
        summary.streamed += time.perf_counter() - started - (cache.seconds - writing)


class _Bugs:
    """Logs every failure by a bug, and ends a run whose code has not made a single valid row.

    Args:
        step: name of the transform.
        enough: the number of failures by bugs that ends the run while there is no valid row; None: never end it,
            because the store already has rows that this code made.
    """

    def __init__(self, step: str, enough: int | None) -> None:
        self._step, self._enough = step, enough
        self._count, self._made = 0, False

    def see(self, outcomes: Sequence[Outcome]) -> None:
        """Log and count the failures by bugs among some outcomes.

        Raises:
            Bug: there are `enough` of them and no valid row so far.
        """
        last = None
        for outcome in outcomes:
            self._made |= outcome.kept or (outcome.row is not None and bool(outcome.row["valid"]))
            failure = outcome.failed
            if failure is not None and failure.is_bug:
                self._count, last = self._count + 1, failure
                what = f"{self._step}: {failure.error} at {failure.place} for '{outcome.clip_id}': {failure.message}"
                log.error("%s", what, extra={"place": failure.place, "details": failure.traceback})
        if last is not None and not self._made and self._enough is not None and self._count >= self._enough:
            raise Bug(
                f"{self._step}: {last.error} at {last.place}: {last.message}; all of the first {self._count} clips "
                "fail by a bug, so the run was ended"
            )


def _failures(cache: RowCache, every: Sequence[Keys]) -> list[Row]:
    return [problem for keys in every for problem in cache.failures(keys).values()]
