"""The tables that a transform reads, joined by clip and served bucket by bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.clips import Clip, Row
from mer_pipeline.errors import StageError
from mer_pipeline.store.rows import digest
from mer_pipeline.store.shards import bucket_of, read_shard
from mer_pipeline.transform import Source


class Inputs:
    """Clips made of one row of each source's table.

    A table is a stage's folder of shards, or one Parquet file (the manifest) whose rows are dealt to the same
    buckets. The first source decides which clips there are; a clip that another lacks has None there.
    """

    def __init__(self, sources: Sequence[Source], places: Mapping[str, Path], shards: int) -> None:
        self.sources = tuple(sources)
        self.shards = shards
        self._places = {source.table: places[source.table] for source in self.sources}
        for table, place in self._places.items():
            if not place.exists():
                raise StageError(f"{place} ({table}) is missing; make it with `dvc repro`")

    def __len__(self) -> int:
        """How many clips there are."""
        place = self._places[self.sources[0].table]
        files = [place] if place.is_file() else sorted(place.glob("part-*.parquet"))
        return sum(pq.ParquetFile(file).metadata.num_rows for file in files)

    def clips(self, bucket: int) -> Iterator[Clip]:
        """The clips of one bucket, in the order of their ids."""
        first, *others = [(source, self._bucket(source, bucket)) for source in self.sources]
        joined = [(source, {str(key): i for i, key in enumerate(t["clip_id"].to_pylist())}, t) for source, t in others]
        for row in _rows(first[1]):
            clip_id = str(row["clip_id"])
            rows: dict[str, Row | None] = {first[0].table: row}
            for source, places, table in joined:
                at = places.get(clip_id)
                rows[source.table] = None if at is None else next(_rows(table.slice(at, 1)))
            yield Clip(clip_id, self._input_digest(rows), rows)

    def _bucket(self, source: Source, bucket: int) -> pa.Table:
        place = self._places[source.table]
        columns = ["clip_id", *source.columns, *source.locators]
        if place.is_file():
            return self._dealt[source.table][bucket].select(columns)
        return read_shard(place, bucket, self.shards, [*columns, "valid", "reason", "digest"])

    @cached_property
    def _dealt(self) -> dict[str, list[pa.Table]]:
        """Single-file tables, split into buckets and sorted."""
        return {
            table: deal(pq.read_table(place), self.shards) for table, place in self._places.items() if place.is_file()
        }

    def _input_digest(self, rows: Mapping[str, Row | None]) -> str:
        parts: dict[str, object] = {}
        for source in self.sources:
            row = rows[source.table]
            if row is None:
                parts[source.table] = None
            elif "digest" in row:
                parts[source.table] = row["digest"]
            else:
                parts[source.table] = {name: row[name] for name in source.columns}
        return digest(parts)


def deal(table: pa.Table, count: int) -> list[pa.Table]:
    """Split a table with a clip_id column into its buckets, each sorted by clip."""
    members: list[list[tuple[str, int]]] = [[] for _ in range(count)]
    for at, clip_id in enumerate(table["clip_id"].to_pylist()):
        members[bucket_of(clip_id, count)].append((clip_id, at))
    return [table.take(pa.array([at for _, at in sorted(bucket)], pa.int64())) for bucket in members]


def _rows(table: pa.Table) -> Iterator[Row]:
    """Rows one at a time, so that a shard of pictures is never whole in Python objects."""
    for batch in table.to_batches():
        for at in range(batch.num_rows):
            yield batch.slice(at, 1).to_pylist()[0]
