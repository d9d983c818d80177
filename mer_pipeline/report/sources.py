"""Read the project's tables for the report, and check them.

A table that may be missing gives no rows. A file that is not what it should be raises a StageError with a message of
one sentence. Large tables (pictures, sound) are read row by row, and only for the clips that are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import StageError
from mer_pipeline.tables.shards import provenance_of, shard_name, shard_of

REMEDY = "make it again with `dvc repro`"
BATCH = 16  # the rows of a large table that are in memory at once


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return some columns of a table (one file or a folder of shards) as rows; none if the table is missing.

    Raises:
        StageError: a file is no Parquet file, or lacks one of the columns.
    """
    return [row for file in parts(path) for row in _open(file, columns).read(list(columns)).to_pylist()]


def rows_of(path: Path, clip_ids: Sequence[str], columns: Sequence[str]) -> dict[str, Row]:
    """Return the valid rows of a few clips from a stage's folder, without loading a whole shard.

    Raises:
        StageError: a file is no Parquet file, or lacks one of the columns.
    """
    files = parts(path)
    wanted: dict[Path, set[str]] = {}
    for clip_id in clip_ids:
        if files:
            wanted.setdefault(path / shard_name(shard_of(clip_id, len(files))), set()).add(clip_id)
    found: dict[str, Row] = {}
    for file in sorted(wanted):
        for row in _matching(_open(file, ["clip_id", *columns, "valid"]), wanted[file], columns):
            found[str(row["clip_id"])] = row
    return found


def parts(path: Path) -> list[Path]:
    """Return the files of a table; none if the table is missing."""
    if path.is_dir():
        return sorted(path.glob("part-*.parquet"))
    return [path] if path.is_file() else []


def footer(path: Path) -> dict[str, str]:
    """Return how a table was made: the keys of its footer that begin with `mer.`, without this prefix."""
    files = parts(path)
    told = provenance_of(files[0]) if files else {}
    return {key: told[key] for key in sorted(told) if key != "shard"}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(file: Path, columns: Sequence[str]) -> pq.ParquetFile:
    try:
        opened = pq.ParquetFile(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise StageError(f"{file} cannot be read as Parquet ({' '.join(str(error).split())}); {REMEDY}") from None
    absent = [name for name in columns if name not in opened.schema_arrow.names]
    if absent:
        raise StageError(f"{file} has no column '{absent[0]}'; {REMEDY}")
    return opened


def _matching(file: pq.ParquetFile, clip_ids: set[str], columns: Sequence[str]) -> Iterator[Row]:
    for group in range(file.num_row_groups):
        if clip_ids.isdisjoint(file.read_row_group(group, ["clip_id"])["clip_id"].to_pylist()):
            continue
        for batch in file.iter_batches(BATCH, row_groups=[group], columns=["clip_id", *columns, "valid"]):
            for at, clip_id in enumerate(batch.column("clip_id").to_pylist()):
                if clip_id in clip_ids and batch.column("valid")[at].as_py():
                    yield batch.slice(at, 1).to_pylist()[0]


def text(value: object) -> str | None:
    """Return a cell as stripped text, or None if it is null or blank.

    Example:
        >>> text(" joy "), text("  ")
        ('joy', None)
    """
    return str(value).strip() or None if value is not None else None


def number(value: object) -> float | None:
    """Return a cell as a float, or None if it is no number."""
    return float(value) if isinstance(value, int | float) else None


def numbers(value: object) -> tuple[float | None, ...]:
    """Return a cell with a list as a tuple of floats; empty if the cell is null.

    Example:
        >>> numbers([1, None]), numbers(None)
        ((1.0, None), ())
    """
    return tuple(number(item) for item in value) if isinstance(value, list) else ()
