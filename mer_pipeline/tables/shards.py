"""Read and write shards, the Parquet files of a stage's folder (`part-00017.parquet`).

The bytes of a shard depend on its rows alone. The shard of a clip is a stable hash of its id modulo the number of
shards. Rows are sorted by id, and the writer's settings are fixed. The footer says what made the rows, but has no time
and no name of a machine. A folder appears complete or not at all, because it is written under a temporary name and
then renamed.
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

ROW_GROUP = 1024  # rows in a row group


class ShardParams(Section):
    """The shards of every table. A clip's shard is a stable hash of its id modulo `count`."""

    count: Annotated[int, Field(ge=1, le=100_000)] = 4  # number of files per table; about 100 MB each is a good size


def shard_of(clip_id: str, count: int) -> int:
    """Return the number of a clip's shard, which is the same in every version, machine and Python process.

    The number is the 64-bit BLAKE2b hash of the id (UTF-8, big-endian) modulo `count`.

    Example:
        >>> shard_of("samplenew3_00000001", 4)
        0
    """
    return int.from_bytes(hashlib.blake2b(clip_id.encode(), digest_size=8).digest()) % count


def shard_name(shard: int) -> str:
    """Return the file name of a shard.

    Example:
        >>> shard_name(17)
        'part-00017.parquet'
    """
    return f"part-{shard:05d}.parquet"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder, which replaces `out` when the block succeeds and is removed when it raises."""
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
    """Write one Parquet file atomically, with the project's fixed settings.

    Args:
        path: the file.
        table: its rows.
        provenance: goes to the key-value metadata of the footer, with "mer." before each key.
    """
    atomic_write(path, table_bytes(table, provenance))


def table_bytes(table: pa.Table, provenance: Mapping[str, str] | None = None) -> bytes:
    """Return a table as the bytes of a Parquet file, which depend on its values, schema and provenance alone."""
    metadata = {f"mer.{key}": value for key, value in (provenance or {}).items()}
    sink = pa.BufferOutputStream()
    pq.write_table(
        # Pages end where chunks end, so without this the bytes would depend on how the table was put together.
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
    """Return the rows sorted by clip id, as every shard has them."""
    clips = table["clip_id"].to_pylist()
    return table.take(pa.array(sorted(range(len(clips)), key=clips.__getitem__), pa.int64()))


def write_shard(
    folder: Path, shard: int, rows: Sequence[Row], schema: pa.Schema, provenance: Mapping[str, str]
) -> None:
    """Write the rows of one shard, sorted by clip."""
    write_table(folder / shard_name(shard), sorted_by_clip(to_table(rows, schema)), provenance)


def write_no_rows(out: Path, schema: pa.Schema, shards: ShardParams) -> None:
    """Write a stage's folder without rows, because DVC needs all outputs of a stage to exist.

    Args:
        out: the folder, which is called as what would make its rows.
        schema: of its rows, as `stage_schema` gives it.
        shards: their number.
    """
    with new_folder(out) as folder:
        for shard in range(shards.count):
            write_shard(folder, shard, [], schema, {"transform": out.name, "shard": str(shard)})


def open_here(source: IO[bytes] | pa.NativeFile) -> pq.ParquetFile:
    """Open a Parquet file whose bytes belong to a Python object.

    The caller must read it with `use_threads=False`, so that no thread of Arrow holds the Python object. A thread that
    releases such an object while the interpreter shuts down would abort the process.
    """
    return pq.ParquetFile(source, pre_buffer=False)


def read_parquet(source: Path | bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file. Unlike pyarrow's `read_table`, this does not import `pyarrow.dataset`.

    Args:
        source: the path, or the content of the file.
        columns: the columns to read; None: all.

    Raises:
        StageError: the file cannot be read as Parquet.
    """
    try:
        file = pq.ParquetFile(source) if isinstance(source, Path) else open_here(pa.BufferReader(source))
        return file.read(columns=None if columns is None else list(columns), use_threads=isinstance(source, Path))
    except pa.ArrowException as error:
        name = source if isinstance(source, Path) else "a pack"
        raise StageError(f"{name} is torn or foreign ({error}); make it again with `dvc repro --force`") from None


def read_shard(folder: Path, shard: int, count: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Read the rows of one shard of a stage's folder.

    Args:
        folder: the stage's folder.
        shard: the number of the shard.
        count: the number of shards that the folder must have.
        columns: the columns to read; None: all.

    Raises:
        StageError: the folder is missing, was written with another number of shards, or the shard cannot be read.
    """
    if len(list(folder.glob("part-*.parquet"))) != count:
        raise StageError(f"{folder} does not have {count} shards; make it again with `dvc repro`")
    return read_parquet(folder / shard_name(shard), columns)


def read_folder(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read all rows of a stage's folder, shard by shard.

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


def provenance_of(path: Path) -> dict[str, str]:
    """Return the provenance in the footer of a Parquet file, as `write_table` was given it.

    Raises:
        StageError: the file cannot be read as Parquet.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except pa.ArrowException as error:
        raise StageError(f"{path} is torn or foreign ({error}); make it again with `dvc repro --force`") from None
    return {
        key.decode().removeprefix("mer."): value.decode() for key, value in metadata.items() if key.startswith(b"mer.")
    }


def forget_others(root: Path, stage: str, names: Iterable[str], quarantine: Path) -> None:
    """Remove the tables of encoders or judges that params.yaml no longer names.

    DVC leaves the outputs of a removed stage in the workspace. They would then be a part of `data/features` on this
    machine but not on another one. DVC's cache still has them. Folders that no such stage wrote are left alone,
    because they may belong to the user.

    Args:
        root: the folder of the tables.
        stage: "embed" for encoders, "vote" for judges.
        names: the names that params.yaml has now.
        quarantine: the folder of the quarantine tables; those of removed tables are removed too.
    """
    kept = set(names)
    for folder in root.iterdir() if root.is_dir() else ():
        part = folder / shard_name(0)
        if folder.name in kept or not part.is_file():
            continue
        if provenance_of(part).get("transform") == f"{stage}-{folder.name}":
            shutil.rmtree(folder)
            (quarantine / f"{stage}-{folder.name}.parquet").unlink(missing_ok=True)
