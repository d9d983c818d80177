"""Run any transform over the clips of its inputs, computing only what the store does not have.

    inputs ─► keys ─► known? ─── yes ────────────────────► rows ─► data/<stage>/part-*.parquet
                        └── no ─► engine ─► packs ──────────┘
                                    └─────────────────────► data/quarantine/<stage>.parquet  (each with its reason)

The bytes of the shards depend on the inputs alone, never on what was known, computed, interrupted or lost before.
Nothing else in the project loops over clips.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mer_pipeline.clips import Clip, Row
from mer_pipeline.engines.local import Outcome, set_up, stream
from mer_pipeline.errors import BadInput, ReadOnlyStore
from mer_pipeline.runs import Seconds, Summary, remember_run
from mer_pipeline.runtime import Runtime
from mer_pipeline.store.inputs import Inputs, Keys
from mer_pipeline.store.root import clone, disk_errors
from mer_pipeline.store.row_cache import RowCache, row_cache_of
from mer_pipeline.tables.quarantine import QualityParams, check_quality, write_problems
from mer_pipeline.tables.rows import complete_row, to_table
from mer_pipeline.tables.shards import ShardParams, new_folder, read_folder, shard_name, shard_of, sorted_by_clip
from mer_pipeline.transform import Item, Transform

# Called with the number of clips computed and the number of all that have to be.
Progress = Callable[[int, int], None]

FLUSH_EARLY = 0.8  # of flush_s: what is being computed at that moment is lost work as well


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
    """Make a transform's rows, known or computed, and write them as canonical shards.

    Args:
        transform: what to do.
        places: where each table lies that the transform reads.
        out: the stage's folder; it appears whole or not at all.
        quarantine: Parquet file of the clips that failed (PROBLEM_SCHEMA), written even when empty.
        shards: how many.
        quality: how many clips may fail.
        runtime: this machine, and its store.
        progress: told as clips are computed.

    Raises:
        TooManyFailed: more than `quality.max_failed` of the clips failed; nothing but the quarantine is written.
        UsageError: a model or setting is unfit; nothing is written.
        StoreError: the store is full, read-only or cannot be reached; what was computed before is kept.
    """
    started = time.perf_counter()
    cache = row_cache_of(transform, runtime)
    job = _Job(transform, Inputs(transform.sources, places, shards.count), cache, runtime, shards.count)
    with disk_errors(out.parent), new_folder(out) as folder:
        with closing(transform):
            job.carry_out(folder, progress)
        problems = job.problems()
        write_problems(quarantine, problems)
        check_quality(transform.name, problems, job.summary.clips, quality, quarantine)
    with suppress(ReadOnlyStore):
        cache.close()
    summary = job.summary
    states = read_folder(out, ["valid", "reason"])
    summary.done = sum(states["valid"].to_pylist())
    summary.skipped = Counter(reason for reason in states["reason"].to_pylist() if reason is not None)
    summary.failed = Counter(str(problem["error"]) for problem in problems)
    summary.seconds = time.perf_counter() - started
    summary.bytes_out = sum(path.stat().st_size for path in out.iterdir())
    summary.bytes_store = cache.written
    summary.set_aside = cache.set_aside
    remember_run(summary)
    return summary


@dataclass
class _Bucket:
    """The clips of one shard.

    Attributes:
        keys: all of them.
        todo: those that are to be computed.
        fresh: rows that no pack has yet, with the batch rows that they were made with.
        failed: clips that failed in this run.
    """

    number: int
    keys: Keys
    todo: set[str] = field(default_factory=set)
    fresh: dict[str, tuple[Row, int]] = field(default_factory=dict)
    failed: dict[str, Row] = field(default_factory=dict)
    unsaid: list[Row] = field(default_factory=list)  # failures to remember that the store does not know yet


class _Job:
    """One run: which clips are to be computed, and each shard as soon as all of its rows are there."""

    def __init__(
        self, transform: Transform[Item], inputs: Inputs, cache: RowCache, runtime: Runtime, shards: int
    ) -> None:
        self.transform: Transform[Item] = transform
        self.inputs, self.cache, self.runtime = inputs, cache, runtime
        self.buckets = [_Bucket(number, inputs.keys(number)) for number in range(shards)]
        self.spent = Seconds()
        self.summary = Summary(transform.name, clips=sum(len(b.keys.clip_ids) for b in self.buckets), spent=self.spent)
        self.unsaved_since: float | None = None
        self.is_ready = False

    def carry_out(self, folder: Path, progress: Progress) -> None:
        """Write every shard into `folder`."""
        for bucket in self.buckets:
            self._find_missing(bucket)
        total = sum(len(bucket.todo) for bucket in self.buckets)
        self.summary.reused = self.summary.clips - total
        open_buckets = {bucket.number: bucket for bucket in self.buckets}
        try:
            # Once, unless a pack that was to be read turns out to be damaged: then its rows are computed after all.
            while open_buckets:
                self._get_ready(sum(len(bucket.todo) for bucket in self.buckets))
                started, written = time.perf_counter(), self.spent.write
                for outcomes in stream(self.transform, self._clips(), self.runtime, self.spent):
                    touched = {self._take(outcome) for outcome in outcomes}
                    for number in sorted(touched):
                        if not self.buckets[number].todo:
                            self._finish(open_buckets, number, folder)
                    self._save_if_due()
                    progress(self.summary.computed, max(total, self.summary.computed))
                self.summary.streamed += time.perf_counter() - started - (self.spent.write - written)
                for number in [n for n, bucket in open_buckets.items() if not bucket.todo]:
                    self._finish(open_buckets, number, folder)
                    self._save_if_due()
        finally:
            self._save(self.buckets)

    def problems(self) -> list[Row]:
        """All clips that failed, in this run or before."""
        return [problem for bucket in self.buckets for problem in bucket.failed.values()]

    def _find_missing(self, bucket: _Bucket) -> None:
        known = self.cache.knows(bucket.keys.input_digests)
        for clip_id, key, is_known in zip(bucket.keys.clip_ids, bucket.keys.input_digests, known, strict=True):
            if clip_id in bucket.fresh or clip_id in bucket.failed:
                continue
            if not is_known:
                bucket.todo.add(clip_id)
            elif (problem := self.cache.problem(key)) is not None:
                bucket.failed[clip_id] = _problem(clip_id, key, *problem)

    def _get_ready(self, missing: int) -> None:
        """Load models, and make sure that rows can be kept, before anything is computed."""
        try:
            self.cache.open_for_writing(surely=missing > 0)
        except ReadOnlyStore as error:
            if missing:
                raise ReadOnlyStore(
                    f"{self.transform.name}: {missing} clips are to be computed and the store cannot keep them "
                    f"({error}); set MER_STORE to a place of your own, or run the stage with --no-store"
                ) from None
        if missing and not self.is_ready:
            set_up(self.transform, self.runtime)
            self.is_ready = True

    def _clips(self) -> Iterator[Clip]:
        for bucket in self.buckets:
            yield from self.inputs.clips(bucket.number, bucket.keys, frozenset(bucket.todo))

    def _take(self, outcome: Outcome) -> int:
        """Note what became of a clip; the number of its bucket."""
        clip = outcome.clip
        bucket = self.buckets[shard_of(clip.clip_id, len(self.buckets))]
        bucket.todo.discard(clip.clip_id)
        self.summary.computed += 1
        if outcome.failed is not None:
            error = outcome.failed
            problem = _problem(clip.clip_id, clip.input_digest, type(error).__name__, str(error) or repr(error))
            bucket.failed[clip.clip_id] = problem
            if isinstance(error, BadInput):  # of anything else nobody knows whether it will happen again
                bucket.unsaid.append(problem)
        else:
            values = complete_row(clip.clip_id, clip.input_digest, outcome.row, outcome.skipped, self.transform.schema)
            bucket.fresh[clip.clip_id] = (values, outcome.rows)
        if self.unsaved_since is None:
            self.unsaved_since = time.perf_counter()
        return bucket.number

    def _save_if_due(self) -> None:
        flush_s = self.runtime.store.flush_s * FLUSH_EARLY
        if self.unsaved_since is not None and time.perf_counter() - self.unsaved_since > flush_s:
            self._save(self.buckets)

    def _save(self, buckets: list[_Bucket]) -> None:
        """Put new rows into packs. Without a store they stay in memory until their shard is whole."""
        if not self.cache.has_store:
            return
        since = time.perf_counter()
        for bucket in buckets:
            by_rows: dict[int, list[Row]] = {}
            for row, rows in bucket.fresh.values():
                by_rows.setdefault(rows, []).append(row)
            for rows, members in by_rows.items():
                self.cache.keep(to_table(members, self.cache.schema), rows, str(bucket.number))
            bucket.fresh.clear()
            self.cache.keep_problems(bucket.unsaid)
            bucket.unsaid.clear()
        if len(buckets) == len(self.buckets):
            self.unsaved_since = None
        self.spent.write += time.perf_counter() - since

    def _finish(self, open_buckets: dict[int, _Bucket], number: int, folder: Path) -> None:
        """Write a shard all of whose rows are known; it stays open when one of them turns out to be lost."""
        since, written = time.perf_counter(), self.spent.write
        bucket = open_buckets.get(number)
        if bucket is None:
            return
        if self._write_shard(bucket, folder / shard_name(number)):
            del open_buckets[number]
        else:
            self._find_missing(bucket)
            self.summary.reused -= len(bucket.todo)
        self.spent.write = written + time.perf_counter() - since

    def _write_shard(self, bucket: _Bucket, path: Path) -> bool:
        keys, shard = _without(bucket.keys, bucket.failed), str(bucket.number)
        all_fresh = len(bucket.fresh) == len(keys.clip_ids)
        if all_fresh and (
            not self.cache.has_store or all(rows == self.cache.rows for _, rows in bucket.fresh.values())
        ):
            table = sorted_by_clip(to_table([row for row, _ in bucket.fresh.values()], self.cache.schema))
            data = self.cache.bytes_of(table, shard)
            self.cache.keep_shard(table, data)
            bucket.fresh.clear()
            path.write_bytes(data)
            return True
        self._save([bucket])
        whole = self.cache.whole(keys.clip_ids, keys.input_digests, shard)
        if whole is not None:
            clone(*whole, path)
            return True
        table = self.cache.read(keys.clip_ids, keys.input_digests)
        if table is None:
            return False
        data = self.cache.bytes_of(table, shard)
        path.write_bytes(data)
        with suppress(ReadOnlyStore):  # nothing is lost: the rows are in smaller packs
            self.cache.settle(table, data)
        return True


def _without(keys: Keys, failed: Mapping[str, Row]) -> Keys:
    kept = [pair for pair in zip(keys.clip_ids, keys.input_digests, strict=True) if pair[0] not in failed]
    return Keys([clip_id for clip_id, _ in kept], [key for _, key in kept])


def _problem(clip_id: str, input_digest: str, error: str, message: str) -> Row:
    return {"clip_id": clip_id, "error": error, "message": message, "input_digest": input_digest}
