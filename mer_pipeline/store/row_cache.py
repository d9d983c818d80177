"""The rows of one transform: those that packs have, and those that no pack has yet.

    missing ─► (an engine computes) ─► add ─► write / table

Rows that were added wait here until their shard is whole; then the shard is one pack, byte for byte. Where that takes
longer than `flush_s`, they go into smaller packs meanwhile, so that a kill loses no more. Without a store nothing is
remembered, and rows wait until their shard is whole.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import ReadOnlyStore, StoreError
from mer_pipeline.base.outcome import Outcome
from mer_pipeline.base.runtime import Runtime, StoreSettings
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.store.inputs import Keys
from mer_pipeline.store.known import KnownRows
from mer_pipeline.store.root import clone
from mer_pipeline.store.store import Store
from mer_pipeline.store.whole import find_whole, settle
from mer_pipeline.tables.quarantine import problem_row
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import shard_of, sorted_by_clip, table_bytes

FLUSH_EARLY = 0.8  # of flush_s: what is being computed at that moment is lost work as well


class RowCache(KnownRows):
    """Known rows, and new ones.

    Args:
        store, transform, device: as of KnownRows.
        shards: how many the transform's table has.
        flush_s: at most so many seconds of work wait here.
        clock: seconds, from any start.

    Attributes:
        shards: see above.
        seconds: spent on writing.
    """

    def __init__(
        self,
        store: Store | None,
        transform: Transform[Item],
        device: str,
        shards: int = 1,
        flush_s: float = StoreSettings().flush_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(store, transform, device)
        self.seconds = 0.0
        self.shards, self._flush_s, self._clock = shards, flush_s, clock
        self._waiting: defaultdict[int, dict[str, Row]] = defaultdict(dict)  # rows that no pack has, by shard and clip
        self._failed: dict[str, Row] = {}  # of this run, by clip
        self._untold: list[Row] = []  # those of them that the store is to remember
        self._since: float | None = None  # when the oldest of these was added
        self._kept: set[str] = set()  # clips whose outcome a worker has put into the store
        self._is_stale = False

    def missing(self, keys: Keys) -> list[str]:
        """The clips that have neither a row nor a failure."""
        self._look_again()
        waiting, known = self._waiting[keys.shard], self.knows(keys.input_digests)
        return [
            clip_id
            for clip_id, is_known in zip(keys.clip_ids, known, strict=True)
            if not (is_known or clip_id in waiting or clip_id in self._failed)
        ]

    def failures(self, keys: Keys) -> dict[str, Row]:
        """The clips that failed, in this run or before, as rows of PROBLEM_SCHEMA."""
        self._look_again()
        failed = {}
        for clip_id, key in zip(keys.clip_ids, keys.input_digests, strict=True):
            if clip_id in self._failed:
                failed[clip_id] = self._failed[clip_id]
            elif (problem := self.problem(key)) is not None:
                failed[clip_id] = problem_row(clip_id, *problem, key)
        return failed

    def open(self, missing: int) -> None:
        """Say that the rows are in use, and make sure that so many new ones can be kept before they are computed.

        Raises:
            ReadOnlyStore, StoreError: they cannot.
        """
        if self._packs is None:
            return
        try:
            self._packs.open_for_writing(surely=missing > 0)
        except ReadOnlyStore as error:
            if missing:
                raise ReadOnlyStore(
                    f"{self.name}: {missing} clips are to be computed and the store cannot keep them ({error}); "
                    "set MER_STORE to a place of your own, or run the stage with --no-store"
                ) from None

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take what became of clips, and put what has waited long enough into packs. Called now and then without any.

        Raises:
            ReadOnlyStore, StoreError: rows cannot be kept, or a worker's are not in this store.
        """
        for outcome in outcomes:
            clip_id = outcome.clip_id
            if outcome.kept:
                self._note_kept(clip_id)
                continue
            if outcome.row is not None:
                self._waiting[shard_of(clip_id, self.shards)][clip_id] = outcome.row
            elif (failure := outcome.failed) is not None:
                told = (failure.error, failure.message, outcome.input_digest, failure.traceback)
                problem = problem_row(clip_id, *told)
                self._failed[clip_id] = problem
                if failure.lasts:  # of anything else nobody knows whether it will happen again
                    self._untold.append(problem)
            if self._since is None:
                self._since = self._clock()
        if self._since is not None and self._clock() - self._since > self._flush_s * FLUSH_EARLY:
            self.flush()

    def flush(self) -> None:
        """Put everything that waits into packs.

        Raises:
            ReadOnlyStore, StoreError: it cannot be kept.
        """
        if self._packs is None:
            return
        with self._timed():
            for shard in list(self._waiting):
                self._keep(shard)
            self._packs.put_problems(self._untold)
            self._untold.clear()
            self._since = None

    def write(self, keys: Keys, path: Path) -> bool:
        """Write a shard of which nothing is missing, but for the clips that failed.

        False, and nothing is written, where a pack turned out not to be trusted: then some of its rows are missing.

        Raises:
            ReadOnlyStore, StoreError: its new rows cannot be kept.
        """
        with self._timed():
            keys = keys.without(self.failures(keys))
            waiting = self._waiting[keys.shard]
            if len(waiting) == len(keys.clip_ids):
                table = sorted_by_clip(to_table(list(waiting.values()), self.schema))
                data = self._bytes_of(table, keys.shard)
                if self._packs is not None and len(table):
                    self._packs.put_bytes(data, table)
                waiting.clear()
                path.write_bytes(data)
                return True
            self._keep(keys.shard)
            if self._packs is not None:
                whole = find_whole(self._packs, keys, self._provenance(keys.shard))
                if whole is not None:
                    clone(*whole, path)
                    return True
            table = self.table(keys)
            if table is None:
                return False
            data = self._bytes_of(table, keys.shard)
            path.write_bytes(data)
            if self._packs is not None:
                with suppress(ReadOnlyStore):  # nothing is lost: the rows are in smaller packs
                    settle(self._packs, table, data)
            return True

    def table(self, keys: Keys) -> pa.Table | None:
        """The rows of clips of which none is missing or failed, in the given order; None as in `write`.

        Raises:
            ReadOnlyStore, StoreError: new rows cannot be kept.
        """
        if self._packs is None:
            waiting = self._waiting[keys.shard]
            return to_table([waiting[clip_id] for clip_id in keys.clip_ids], self.schema)
        self._look_again()
        self._keep(keys.shard)
        places = self._packs.find(keys.input_digests)
        table = self._packs.read(places) if (places >= 0).all() else None
        if table is None:
            return None
        # The same content may have been seen under another name. Parquet calls the items of a list otherwise.
        names = pa.array(keys.clip_ids, pa.string())
        return table.set_column(0, self.schema.field("clip_id"), names).cast(self.schema)

    def close(self) -> None:
        """Make the next opening cheap."""
        if self._packs is not None:
            with suppress(ReadOnlyStore):
                self._packs.write_index()

    def _note_kept(self, clip_id: str) -> None:
        if clip_id in self._kept:  # it was computed a second time, because it was missing after the first
            raise StoreError(
                f"{self.name}: a worker has kept the row of '{clip_id}', and the store does not have it; give all "
                "machines the same MER_STORE"
            )
        self._kept.add(clip_id)
        self._is_stale = True

    def _look_again(self) -> None:
        if self._is_stale and self._packs is not None:
            self._packs.look_again()
            self._is_stale = False

    def _keep(self, shard: int) -> None:
        """Put the rows of a shard that wait into a pack of their own. Without a store they stay."""
        waiting = self._waiting[shard]
        if self._packs is not None and waiting:
            table = sorted_by_clip(to_table(list(waiting.values()), self.schema))
            self._packs.put(table, self._provenance(shard))
            waiting.clear()

    def _provenance(self, shard: int) -> Mapping[str, str]:
        """What a shard's footer says."""
        return {"transform": self.name, "shard": str(shard), **self.fingerprint.provenance()}

    def _bytes_of(self, table: pa.Table, shard: int) -> bytes:
        return table_bytes(table, self._provenance(shard))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started


def row_cache_of(transform: Transform[Item], runtime: Runtime, shards: int = 1) -> RowCache:
    """What this machine's store knows of a transform.

    Raises:
        StoreError: the store cannot be reached.
    """
    url = runtime.store_url
    device = runtime.device_kind() if transform.uses_torch else "any"
    return RowCache(None if url is None else Store(url), transform, device, shards, runtime.store.flush_s)
