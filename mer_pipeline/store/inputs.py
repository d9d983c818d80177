"""The tables that a transform reads, joined by clip and served shard by shard.

Keys first: which clips there are and the digest of what each is made from needs only a few columns; whole rows
are read for the clips that are computed.
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

# What a source's table says about a clip, as it enters the input digest; None where it has no row.
Parts = Mapping[str, Encoded]


@dataclass(frozen=True)
class Keys:
    """The clips of one shard in the order of their ids, and the digest of what each is made from."""

    shard: int
    clip_ids: list[str]
    input_digests: list[str]

    def without(self, clip_ids: Container[str]) -> Keys:
        """The others."""
        pairs = zip(self.clip_ids, self.input_digests, strict=True)
        kept = [(clip_id, key) for clip_id, key in pairs if clip_id not in clip_ids]
        return Keys(self.shard, [clip_id for clip_id, _ in kept], [key for _, key in kept])


class Inputs:
    """Clips made of one row of each source's table.

    A table is a stage's folder of shards, or one table (the manifest, or external features) whose rows are dealt to
    the same shards. The first source decides which clips there are; a clip that another lacks has None there.
    """

    def __init__(self, sources: Sequence[Source], places: Mapping[str, Path], shards: int) -> None:
        self.sources = tuple(sources)
        self.shards = shards
        self._places = {source.table: places[source.table] for source in self.sources}
        for table, place in self._places.items():
            if not place.exists():
                raise StageError(f"{place} ({table}) is missing; make it with `dvc repro`")

    def keys(self, shard: int) -> Keys:
        """The clips of one shard; no payload is read."""
        parts = {source.table: self._parts(source, shard) for source in self.sources}
        clip_ids = list(parts[self.sources[0].table])
        return Keys(shard, clip_ids, input_digests(clip_ids, parts))

    def clips(self, keys: Keys, wanted: Collection[str]) -> Iterator[Clip]:
        """The wanted ones of a shard's clips, in the order of their ids, with their rows."""
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
        """Tables that are no folders of shards, split into shards and sorted."""
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
    """Whether a source's table is to be read as a whole, and is no stage's folder of shards."""
    return isinstance(source, ExternalTable) or place.is_file()


def read_source(source: Source, place: Path) -> pa.Table:
    """A table that is no folder of shards.

    Raises:
        StageError, DatasetError: it is not what it should be.
    """
    return source.read(place) if isinstance(source, ExternalTable) else read_file(place, source.columns)


def read_file(place: Path, columns: Sequence[str]) -> pa.Table:
    """A table of one file: Parquet; or a CSV whose column `name` names the clips and whose cells stay text.

    Raises:
        StageError, DatasetError: it is not what it should be.
    """
    if place.suffix != ".csv":
        return read_parquet(place)
    rows = list(read_csv(place, ("name", *columns)))
    cells = {"clip_id": [row["name"] for row in rows], **{name: [row[name] for row in rows] for name in columns}}
    return pa.table(cells, pa.schema([pa.field(name, pa.string()) for name in cells]))


def table_parts(table: pa.Table, columns: Sequence[str] | None) -> Parts:
    """What each clip's row is for an input digest: the row's own digest, or the declared columns of a plain table."""
    clip_ids = table["clip_id"].to_pylist()
    if columns is None:
        return {clip: Encoded(encode(value)) for clip, value in zip(clip_ids, table["digest"].to_pylist(), strict=True)}
    names = sorted(columns)
    parts = [encode_column(name, table[name].to_pylist()) for name in names]
    start = b"m%d:" % len(names)
    rows = zip(*parts, strict=True) if parts else [()] * len(clip_ids)
    return {clip: Encoded(start + b"".join(row)) for clip, row in zip(clip_ids, rows, strict=True)}


def input_digests(clip_ids: Sequence[str], parts: Mapping[str, Parts]) -> list[str]:
    """Hash of exactly what a transform declares it reads, for each clip: `digest({table: part, ...})`."""
    return digest_columns({table: [of.get(clip_id) for clip_id in clip_ids] for table, of in parts.items()})


def deal(table: pa.Table, count: int) -> list[pa.Table]:
    """Split a table with a clip_id column into its shards, each sorted by clip."""
    members: list[list[tuple[str, int]]] = [[] for _ in range(count)]
    for at, clip_id in enumerate(table["clip_id"].to_pylist()):
        members[shard_of(clip_id, count)].append((clip_id, at))
    return [table.take(pa.array([at for _, at in sorted(shard)], pa.int64())) for shard in members]


def _positions(table: pa.Table) -> dict[str, int]:
    return {str(clip_id): at for at, clip_id in enumerate(table["clip_id"].to_pylist())}


def _row(table: pa.Table, at: int | None) -> Row | None:
    """One row at a time, so that a shard of pictures is never whole in Python objects."""
    if at is None:
        return None
    row: Row = table.slice(at, 1).to_pylist()[0]
    return row
