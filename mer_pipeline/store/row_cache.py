"""The row cache: the known rows of one transform, and the new rows that no pack has yet.

    missing ─► (an engine computes) ─► add ─► write / table

New rows wait here until their shard is complete; the shard is then stored as one pack. If that takes longer than
`flush_s`, they are stored in smaller packs meanwhile, so that a killed process loses at most the work of that time.
Without a store, nothing is kept between runs, and rows wait in memory until their shard is complete.
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

FLUSH_EARLY = 0.8  # fraction of flush_s; flushing early leaves time for the rows that are being computed at the time


class RowCache(KnownRows):
    """The known rows of a transform, and its new rows.

    Args:
        store, transform, device: as in `KnownRows`.
        shards: the number of shards of the transform's table.
        flush_s: rows wait here for at most so many seconds before they are stored.
        clock: returns the time in seconds, from any start.

    Attributes:
        shards: as in Args.
        seconds: the time spent on writing.
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
        self._waiting: defaultdict[int, dict[str, Row]] = defaultdict(dict)  # rows in no pack yet, by shard and clip
        self._failed: dict[str, Row] = {}  # failures of this run, by clip
        self._untold: list[Row] = []  # lasting failures that are not yet in the store
        self._since: float | None = None  # when the oldest waiting row or failure was added
        self._kept: set[str] = set()  # clips whose outcome a worker has put into the store
        self._is_stale = False

    def missing(self, keys: Keys) -> list[str]:
        """Return the clips that have neither a row nor a failure."""
        self._look_again()
        waiting, known = self._waiting[keys.shard], self.knows(keys.input_digests)
        return [
            clip_id
            for clip_id, is_known in zip(keys.clip_ids, known, strict=True)
            if not (is_known or clip_id in waiting or clip_id in self._failed)
        ]

    def failures(self, keys: Keys) -> dict[str, Row]:
        """Return the failures of clips, in this run or before, as rows of `PROBLEM_SCHEMA` by the clip's name."""
        self._look_again()
        failed = {}
        for clip_id, key in zip(keys.clip_ids, keys.input_digests, strict=True):
            if clip_id in self._failed:
                failed[clip_id] = self._failed[clip_id]
            elif (problem := self.problem(key)) is not None:
                failed[clip_id] = problem_row(clip_id, *problem, key)
        return failed

    def open(self, missing: int) -> None:
        """Record that the rows are in use, and make sure before any work that new rows can be stored.

        Args:
            missing: the number of rows that will be computed; 0: the store may be read-only.

        Raises:
            ReadOnlyStore, StoreError: new rows cannot be stored.
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
        """Take the outcomes of clips, and store all waiting rows if they have waited long enough.

        This is also called without outcomes from time to time, so that waiting rows are stored.

        Raises:
            ReadOnlyStore, StoreError: rows cannot be stored, or the rows that a worker stored are not in this store.
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
                if failure.lasts:  # any other failure may not happen again, so the store does not keep it
                    self._untold.append(problem)
            if self._since is None:
                self._since = self._clock()
        if self._since is not None and self._clock() - self._since > self._flush_s * FLUSH_EARLY:
            self.flush()

    def flush(self) -> None:
        """Store all waiting rows and failures.

        Raises:
            ReadOnlyStore, StoreError: they cannot be stored.
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
        """Write a shard. Each of its clips must have a row or a failure.

        Args:
            keys: the clips of the shard.
            path: the file to write.

        Returns:
            True; or False if a pack turned out to be damaged. Some rows are then missing, and nothing is written.

        Raises:
            ReadOnlyStore, StoreError: new rows of the shard cannot be stored.
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
                with suppress(ReadOnlyStore):  # nothing is lost, because the rows are in smaller packs
                    settle(self._packs, table, data)
            return True

    def table(self, keys: Keys) -> pa.Table | None:
        """Return the rows of clips, in the given order; None if a pack turned out to be damaged.

        Args:
            keys: clips of one shard, of which none is missing or failed.

        Raises:
            ReadOnlyStore, StoreError: new rows cannot be stored.
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
        # The rows may have been stored for a clip of another name with the same content. Parquet has another name for
        # the items of a list, so the table is also cast to the schema.
        names = pa.array(keys.clip_ids, pa.string())
        return table.set_column(0, self.schema.field("clip_id"), names).cast(self.schema)

    def close(self) -> None:
        """Write an index if needed, so that the next opening is fast."""
        if self._packs is not None:
            with suppress(ReadOnlyStore):
                self._packs.write_index()

    def _note_kept(self, clip_id: str) -> None:
        if clip_id in self._kept:  # the clip was computed a second time, because its row was not in the store
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
        """Store the waiting rows of a shard as a pack. Without a store, they go on waiting."""
        waiting = self._waiting[shard]
        if self._packs is not None and waiting:
            table = sorted_by_clip(to_table(list(waiting.values()), self.schema))
            self._packs.put(table, self._provenance(shard))
            waiting.clear()

    def _provenance(self, shard: int) -> Mapping[str, str]:
        """Return the entries of a shard's footer."""
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
    """Open the row cache of a transform in this machine's store.

    Args:
        transform: the transform.
        runtime: the settings of this machine.
        shards: the number of shards of the transform's table.

    Raises:
        StoreError: the store cannot be reached.
        UsageError: the storage root is not a valid URL.
        Undigestible: as in `fingerprint_of`.
    """
    url = runtime.store_url
    device = runtime.device_kind() if transform.uses_torch else "any"
    return RowCache(None if url is None else Store(url), transform, device, shards, runtime.store.flush_s)
