"""Rows to Arrow and back: the columns that every stage's table has, and a digest of each row's content."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from mer_pipeline.base.clips import Row

DIGEST_BYTES = 16


def stage_schema(values: pa.Schema) -> pa.Schema:
    """The schema of a stage's table: its value columns (nullable) between the clip's id and the row's state."""
    return pa.schema(
        [
            pa.field("clip_id", pa.string(), nullable=False),
            *values,
            pa.field("valid", pa.bool_(), nullable=False),  # false: nothing to compute, and `reason` says why
            pa.field("reason", pa.string()),
            pa.field("digest", pa.string(), nullable=False),  # of the value columns, valid and reason
            pa.field("input_digest", pa.string(), nullable=False),  # of what the row was made from
        ]
    )


def complete_row(clip_id: str, input_digest: str, values: Row | None, reason: str | None, schema: pa.Schema) -> Row:
    """One row of `stage_schema(schema)`; `values` is None for a clip that was skipped for `reason`."""
    row = {name: None if values is None else values[name] for name in schema.names}
    state = {"valid": values is not None, "reason": reason}
    return {
        "clip_id": clip_id,
        **row,
        **state,
        "digest": digest({**row, **state, "types": _types(schema)}),
        "input_digest": input_digest,
    }


@lru_cache(maxsize=64)
def _types(schema: pa.Schema) -> str:
    """They are part of a value: a column that becomes coarser holds other numbers."""
    return str(schema.remove_metadata())


def digest(value: object) -> str:
    """Hex digest of a value made of None, bool, int, float, str, bytes, arrays, sequences and mappings.

    Types and lengths are part of the encoding, so no two different values share one.
    """
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for chunk in _encode(value):
        hasher.update(chunk)
    return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value that is encoded already."""

    data: bytes


def digest_columns(columns: Mapping[str, Sequence[object]]) -> list[str]:
    """`digest({name: value, ...})` of every row of a table given by columns; several times as fast."""
    names = sorted(columns)
    start = b"m%d:" % len(names)
    parts = [encode_column(name, columns[name]) for name in names]
    return [
        hashlib.blake2b(start + b"".join(row), digest_size=DIGEST_BYTES).hexdigest() for row in zip(*parts, strict=True)
    ]


def encode_column(name: str, values: Iterable[object]) -> list[bytes]:
    """What each value of a column adds to the encoding of its row as a mapping."""
    key = encode(name)
    return [key + encode(value) for value in values]


def encode(value: object) -> bytes:
    """The bytes that `digest` hashes."""
    # The most frequent first: a look over 100,000 clips comes here a million times.
    if isinstance(value, str):
        data = value.encode()
        return b"s%d:%b" % (len(data), data)
    if isinstance(value, Encoded):
        return value.data
    return b"N" if value is None else b"".join(_encode(value))


def _encode(value: object) -> Iterable[bytes | memoryview]:
    match value:
        case None:
            yield b"N"
        case bool():
            yield b"T" if value else b"F"
        case int():
            yield b"i%d;" % value
        case float():
            yield b"f" + struct.pack("<d", value)
        case str():
            data = value.encode()
            yield b"s%d:" % len(data)
            yield data
        case bytes():
            yield b"b%d:" % len(value)
            yield value
        case np.ndarray():
            yield f"a{value.dtype.str}{value.shape}:".encode()
            yield np.ascontiguousarray(value).tobytes()
        case np.generic():
            yield from _encode(value.item())
        case Encoded():
            yield value.data
        case Mapping():
            yield b"m%d:" % len(value)
            for key in sorted(value):
                yield from _encode(key)
                yield from _encode(value[key])
        case Sequence():
            yield b"l%d:" % len(value)
            for item in value:
                yield from _encode(item)
        case _:
            raise TypeError(f"no digest for a {type(value).__name__}")


def to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table; a numpy array stands for a (nested) list of its last axes without a detour
    over Python numbers."""
    return pa.Table.from_arrays([_column([row[f.name] for row in rows], f.type) for f in schema], schema=schema)


def _column(values: list[object], kind: pa.DataType) -> pa.Array:
    if pa.types.is_fixed_size_list(kind) and all(v is None or isinstance(v, np.ndarray) for v in values):
        empty = np.zeros(kind.list_size, dtype=kind.value_type.to_pandas_dtype())
        dense = [v if isinstance(v, np.ndarray) else empty for v in values]
        if any(v.shape != empty.shape for v in dense):
            raise ValueError(f"a vector does not have the {kind.list_size} values of its column")
        flat = np.concatenate(dense).astype(empty.dtype, copy=False) if dense else empty[:0]
        return pa.FixedSizeListArray.from_arrays(
            pa.array(flat, kind.value_type), type=kind, mask=pa.array([v is None for v in values], pa.bool_())
        )
    if pa.types.is_list(kind) and values and all(v is None or isinstance(v, np.ndarray) for v in values):
        lengths = [0 if v is None else len(v) for v in values if v is None or isinstance(v, np.ndarray)]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        inner = _column([item for v in values if isinstance(v, np.ndarray) for item in v], kind.value_type)
        return pa.ListArray.from_arrays(
            pa.array(offsets), inner, type=kind, mask=pa.array([v is None for v in values], pa.bool_())
        )
    return pa.array(values, kind)
