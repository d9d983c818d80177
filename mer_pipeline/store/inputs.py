"""Read the tables that a transform reads, joined by clip, one shard at a time.

The keys come first: which clips there are, and the input digest of each. They need only a few columns. Whole rows are
read only for the clips that are computed.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.csv_files import read_csv
from mer_pipeline.base.errors import StageError
from mer_pipeline.base.transform import ExternalTable, Source
from mer_pipeline.tables.rows import Encoded, digest_columns, encode, encode_column
from mer_pipeline.tables.shards import read_parquet, read_shard, shard_of

# The part of each clip's input digest that comes from one source's table. A clip without a row there is missing.
Parts = Mapping[str, Encoded]


@dataclass(frozen=True)
class Keys:
    """The clips of one shard.

    Attributes:
        shard: the number of the shard.
        clip_ids: the clips' names, sorted.
        input_digests: the clips' input digests, in the same order.
    """

    shard: int
    clip_ids: list[str]
    input_digests: list[str]

    def without(self, clip_ids: Container[str]) -> Keys:
        """Return the keys without some clips."""
        pairs = zip(self.clip_ids, self.input_digests, strict=True)
        kept = [(clip_id, key) for clip_id, key in pairs if clip_id not in clip_ids]
        return Keys(self.shard, [clip_id for clip_id, _ in kept], [key for _, key in kept])


class Inputs:
    """The clips of a transform, each made of one row of each source's table.

    A table is either a stage's folder of shards, or a single table (the manifest, or external features) whose rows are
    split into the same shards. The first source decides which clips there are. If another source has no row for a
    clip, the clip has None there.

    Args:
        sources: the tables to read.
        places: the path of each table, by the table's name.
        shards: the number of shards.

    Raises:
        StageError: a table is missing.
    """

    def __init__(self, sources: Sequence[Source], places: Mapping[str, Path], shards: int) -> None:
        self.sources = tuple(sources)
        self.shards = shards
        self._places = {source.table: places[source.table] for source in self.sources}
        for table, place in self._places.items():
            if not place.exists():
                raise StageError(f"{place} ({table}) is missing; make it with `dvc repro`")

    def keys(self, shard: int) -> Keys:
        """Return the clips of one shard and their input digests, without reading whole rows.

        Raises:
            StageError, DatasetError: a table cannot be read.
        """
        parts = {source.table: self._parts(source, shard) for source in self.sources}
        clip_ids = list(parts[self.sources[0].table])
        return Keys(shard, clip_ids, input_digests(clip_ids, parts))

    def clips(self, keys: Keys, wanted: Collection[str]) -> Iterator[Clip]:
        """Read some clips of a shard with their rows.

        Args:
            keys: the clips of the shard.
            wanted: the names of the clips to read.

        Yields:
            The wanted clips, in the order of their ids.
        """
        if not wanted:
            return
        digest_of = dict(zip(keys.clip_ids, keys.input_digests, strict=True))
        tables = [(source.table, self._read(source, keys.shard)) for source in self.sources]
        rows_of = [(name, table, _positions(table)) for name, table in tables]
        for clip_id in keys.clip_ids:
            if clip_id in wanted:
                rows = {name: _row(table, at.get(clip_id)) for name, table, at in rows_of}
                yield Clip(clip_id, digest_of[clip_id], rows)

    def _parts(self, source: Source, shard: int) -> Parts:
        place = self._places[source.table]
        if is_one_table(source, place):
            table = self._dealt[source.table][shard]
            return table_parts(table, source.columns)
        return table_parts(read_shard(place, shard, self.shards, ["clip_id", "digest"]), None)

    def _read(self, source: Source, shard: int) -> pa.Table:
        place = self._places[source.table]
        columns = ["clip_id", *source.columns, *source.locators]
        if is_one_table(source, place):
            return self._dealt[source.table][shard].select(columns)
        return read_shard(place, shard, self.shards, [*columns, "valid", "reason", "digest"])

    @cached_property
    def _dealt(self) -> dict[str, list[pa.Table]]:
        """The single tables, split into shards and sorted, by the table's name."""
        return {
            source.table: deal(_with_columns(source, place), self.shards)
            for source in self.sources
            if is_one_table(source, place := self._places[source.table])
        }


def _with_columns(source: Source, place: Path) -> pa.Table:
    table = read_source(source, place)
    if lacking := [name for name in (*source.columns, *source.locators) if name not in table.column_names]:
        raise StageError(f"{place} has no column {', '.join(lacking)}: the dataset does not bring what this step reads")
    return table


def is_one_table(source: Source, place: Path) -> bool:
    """Return whether a source's table is a single table and not a stage's folder of shards."""
    return isinstance(source, ExternalTable) or place.is_file()


def read_source(source: Source, place: Path) -> pa.Table:
    """Read a single table.

    Raises:
        StageError, DatasetError: the table cannot be read.
    """
    return source.read(place) if isinstance(source, ExternalTable) else read_file(place, source.columns)


def read_file(place: Path, columns: Sequence[str]) -> pa.Table:
    """Read a table of one file: a Parquet file, or a CSV file.

    A CSV file has the clips' names in the column `name`; all its cells are read as text.

    Args:
        place: the file.
        columns: the columns to read from a CSV file; a Parquet file is read whole.

    Raises:
        StageError: the Parquet file cannot be read.
        DatasetError: the CSV file is not as `read_csv` needs it.
    """
    if place.suffix != ".csv":
        return read_parquet(place)
    rows = list(read_csv(place, ("name", *columns)))
    cells = {"clip_id": [row["name"] for row in rows], **{name: [row[name] for row in rows] for name in columns}}
    return pa.table(cells, pa.schema([pa.field(name, pa.string()) for name in cells]))


def table_parts(table: pa.Table, columns: Sequence[str] | None) -> Parts:
    """Return the part of each clip's input digest that comes from one table, by the clip's name.

    Args:
        table: the table, with the column `clip_id`.
        columns: the columns that count; None: the row digest counts, as for a stage's table.
    """
    clip_ids = table["clip_id"].to_pylist()
    if columns is None:
        return {clip: Encoded(encode(value)) for clip, value in zip(clip_ids, table["digest"].to_pylist(), strict=True)}
    names = sorted(columns)
    parts = [encode_column(name, table[name].to_pylist()) for name in names]
    start = b"m%d:" % len(names)
    rows = zip(*parts, strict=True) if parts else [()] * len(clip_ids)
    return {clip: Encoded(start + b"".join(row)) for clip, row in zip(clip_ids, rows, strict=True)}


def input_digests(clip_ids: Sequence[str], parts: Mapping[str, Parts]) -> list[str]:
    """Return the input digest of each clip: `digest({table: part, ...})` of all that the transform declares to read.

    Args:
        clip_ids: the clips.
        parts: the parts of every table, by the table's name.
    """
    return digest_columns({table: [of.get(clip_id) for clip_id in clip_ids] for table, of in parts.items()})


def deal(table: pa.Table, count: int) -> list[pa.Table]:
    """Split a table with a column `clip_id` into `count` shards, each sorted by clip."""
    members: list[list[tuple[str, int]]] = [[] for _ in range(count)]
    for at, clip_id in enumerate(table["clip_id"].to_pylist()):
        members[shard_of(clip_id, count)].append((clip_id, at))
    return [table.take(pa.array([at for _, at in sorted(shard)], pa.int64())) for shard in members]


def _positions(table: pa.Table) -> dict[str, int]:
    return {str(clip_id): at for at, clip_id in enumerate(table["clip_id"].to_pylist())}


def _row(table: pa.Table, at: int | None) -> Row | None:
    """Return one row as Python objects. A whole shard of pictures as Python objects would need too much memory."""
    if at is None:
        return None
    row: Row = table.slice(at, 1).to_pylist()[0]
    return row
