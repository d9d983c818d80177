"""A problem file: inputs that are broken for good, with the error's class and message. Parquet, like a pack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import pyarrow as pa

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import StageError
from mer_pipeline.store.fingerprint import FORMAT
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import read_parquet, table_bytes

SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("input_digest", "error", "message")])

# Error class and message, by input digest.
Problems: TypeAlias = Mapping[str, tuple[str, str]]


def to_bytes(problems: Iterable[Row]) -> bytes:
    """Rows with the columns of SCHEMA, and maybe others, as a file."""
    rows = [{name: row[name] for name in SCHEMA.names} for row in problems]
    rows.sort(key=lambda row: str(row["input_digest"]))
    return table_bytes(to_table(rows, SCHEMA), {"format": str(FORMAT)})


def from_bytes(data: bytes) -> Problems:
    """What a file says.

    Raises:
        ValueError: it is no problem file.
    """
    try:
        table = read_parquet(data)
    except StageError as error:
        raise ValueError(str(error)) from None
    if not table.schema.equals(SCHEMA):
        raise ValueError("it has other columns")
    return {row["input_digest"]: (row["error"], row["message"]) for row in table.to_pylist()}
