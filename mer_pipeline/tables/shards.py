"""Canonical shards: `part-00017.parquet` of a stage's folder, whose bytes depend on its rows alone.

A clip's shard is a stable hash of its id modulo the shard count; rows are sorted by id; the writer's settings
are fixed and the footer says what made the rows, but no time and no host. A folder appears whole or not at
all: it is written under a temporary name beside its place and renamed.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mer_pipeline.base.atomic import TEMPORARY, atomic_write, claimed, sweep
from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import StageError
from mer_pipeline.config.section import Section
from mer_pipeline.tables.rows import to_table

ROW_GROUP = 1024  # rows


class ShardParams(Section):
    """Canonical shards: a clip's shard is a stable hash of its id modulo `count`."""

    count: Annotated[int, Field(ge=1, le=100_000)] = 4  # files per stage; about 100 MB each is a good size


def shard_of(clip_id: str, count: int) -> int:
    """The shard of a clip: stable over versions, machines and Python's hash seed."""
    return int.from_bytes(hashlib.blake2b(clip_id.encode(), digest_size=8).digest()) % count


def shard_name(shard: int) -> str:
    """File name of a shard."""
    return f"part-{shard:05d}.parquet"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder that becomes `out` when the block ends well, and goes when it does not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    sweep(out.parent, out.name)
    with claimed(out, Path.mkdir) as temporary:
        yield temporary
        old, is_there = temporary.with_name(f"{temporary.name}{TEMPORARY}"), False
        while not is_there:
            with suppress(FileNotFoundError):
                out.rename(old)
            try:
                temporary.rename(out)
                is_there = True
            except OSError as error:  # another run may have put its own there meanwhile
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            finally:
                shutil.rmtree(old, ignore_errors=True)


def write_table(path: Path, table: pa.Table, provenance: Mapping[str, str] | None = None) -> None:
    """Write one Parquet file with the project's fixed settings, whole or not at all.

    `provenance` goes to the footer's key-value metadata, its keys prefixed with "mer.".
    """
    atomic_write(path, table_bytes(table, provenance))


def table_bytes(table: pa.Table, provenance: Mapping[str, str] | None = None) -> bytes:
    """A table as the bytes of a Parquet file; a function of its values, schema and provenance alone."""
    metadata = {f"mer.{key}": value for key, value in (provenance or {}).items()}
    sink = pa.BufferOutputStream()
    pq.write_table(
        # Pages end where chunks do, so how a table was put together would show.
        table.combine_chunks().replace_schema_metadata(metadata),
        sink,
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=False,
        write_statistics=True,
        row_group_size=ROW_GROUP,
        store_schema=True,
    )
    data = sink.getvalue().to_pybytes()
    assert isinstance(data, bytes)
    return data


def sorted_by_clip(table: pa.Table) -> pa.Table:
    """Rows in the order of every shard."""
    clips = table["clip_id"].to_pylist()
    return table.take(pa.array(sorted(range(len(clips)), key=clips.__getitem__), pa.int64()))


def write_shard(
    folder: Path, shard: int, rows: Sequence[Row], schema: pa.Schema, provenance: Mapping[str, str]
) -> None:
    """Write the rows of one shard, sorted by clip."""
    write_table(folder / shard_name(shard), sorted_by_clip(to_table(rows, schema)), provenance)


def open_here(source: IO[bytes] | pa.NativeFile) -> pq.ParquetFile:
    """A Parquet file whose bytes are Python's; read it with `use_threads=False`: then no thread of Arrow's holds them.

    One that lets go of a Python object while the interpreter ends aborts the process, with all its work done.
    """
    return pq.ParquetFile(source, pre_buffer=False)


def read_parquet(source: Path | bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """One Parquet file; unlike pyarrow's `read_table` without loading its machinery for datasets of many files.

    Raises:
        StageError: it is not what it should be.
    """
    try:
        file = pq.ParquetFile(source) if isinstance(source, Path) else open_here(pa.BufferReader(source))
        return file.read(columns=None if columns is None else list(columns), use_threads=isinstance(source, Path))
    except pa.ArrowException as error:
        name = source if isinstance(source, Path) else "a pack"
        raise StageError(f"{name} is torn or foreign ({error}); make it again with `dvc repro --force`") from None


def read_shard(folder: Path, shard: int, count: int, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of one shard of a stage's folder.

    Raises:
        StageError: the folder is absent or was written with another shard count.
    """
    if len(list(folder.glob("part-*.parquet"))) != count:
        raise StageError(f"{folder} does not have {count} shards; make it again with `dvc repro`")
    return read_parquet(folder / shard_name(shard), columns)


def read_folder(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a stage's folder, shard by shard.

    Raises:
        StageError: there are no shards, or one cannot be read.
    """
    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise StageError(f"{folder} has no shards; make it with `dvc repro`")
    try:
        return pa.concat_tables(read_parquet(part, columns) for part in parts)
    except pa.ArrowException as error:
        raise StageError(f"{folder} has a torn or foreign shard ({error}); make it again with `dvc repro`") from None


def forget_others(root: Path, stage: str, names: Iterable[str], quarantine: Path) -> None:
    """Remove what encoders ("embed") or judges ("vote") left below `root` that params.yaml no longer names.

    DVC leaves a removed stage's outputs in the workspace, and they would count among `data/features` on this machine
    and not on a colleague's. DVC's cache still has them. Folders that no such stage wrote are a person's and stay.
    """
    kept = set(names)
    for folder in root.iterdir() if root.is_dir() else ():
        part = folder / shard_name(0)
        if folder.name in kept or not part.is_file():
            continue
        if (pq.read_schema(part).metadata or {}).get(b"mer.transform") == f"{stage}-{folder.name}".encode():
            shutil.rmtree(folder)
            (quarantine / f"{stage}-{folder.name}.parquet").unlink(missing_ok=True)
