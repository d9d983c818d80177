"""Turn rows into Arrow tables: the columns that every stage's table has, and a digest of each row's content."""

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
    """Return the schema of a stage's table: the clip's id, the value columns, the row's state and its digests."""
    return pa.schema(
        [
            pa.field("clip_id", pa.string(), nullable=False),
            *values,
            pa.field("valid", pa.bool_(), nullable=False),  # false: the clip was skipped, and `reason` says why
            pa.field("reason", pa.string()),
            pa.field("digest", pa.string(), nullable=False),  # row digest: of the value columns, `valid` and `reason`
            pa.field("input_digest", pa.string(), nullable=False),  # digest of the content that the row was made from
        ]
    )


def complete_row(clip_id: str, input_digest: str, values: Row | None, reason: str | None, schema: pa.Schema) -> Row:
    """Return a row of `stage_schema(schema)`.

    Args:
        clip_id: the clip's name.
        input_digest: the digest of the content that the row was made from.
        values: the value columns; None for a skipped clip.
        reason: why the clip was skipped; None if it was not.
        schema: the schema of the value columns.
    """
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
    """Return the types of the value columns as text, for the row digest.

    The types enter the digest because the same numbers have other stored values in a column of lower precision.
    """
    return str(schema.remove_metadata())


def digest(value: object) -> str:
    """Return the digest (BLAKE2b, 128 bits, as hexadecimal text) of a value.

    Types and lengths are part of the encoding, so two different values have different encodings. The order of a
    mapping's keys does not count.

    Args:
        value: made of None, bool, int, float, str, bytes, arrays, sequences and mappings.

    Raises:
        TypeError: the value has a part of another type.

    Example:
        >>> digest({"a": 1})
        'd0deea13b514647fb58f5fdfeec0792a'
        >>> digest({"a": 1}) == digest({"a": 1.0})
        False
    """
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for chunk in _encode(value):
        hasher.update(chunk)
    return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value that is already encoded, as by `encode`."""

    data: bytes


def digest_columns(columns: Mapping[str, Sequence[object]]) -> list[str]:
    """Return the digest of every row of a table that is given by its columns.

    The result is `digest({name: value, ...})` for each row, but is several times as fast.
    """
    names = sorted(columns)
    start = b"m%d:" % len(names)
    parts = [encode_column(name, columns[name]) for name in names]
    return [
        hashlib.blake2b(start + b"".join(row), digest_size=DIGEST_BYTES).hexdigest() for row in zip(*parts, strict=True)
    ]


def encode_column(name: str, values: Iterable[object]) -> list[bytes]:
    """Return for each value of a column its part of the encoding of its row, where the row is a mapping."""
    key = encode(name)
    return [key + encode(value) for value in values]


def encode(value: object) -> bytes:
    """Return the bytes that `digest` hashes for a value.

    Raises:
        TypeError: as in `digest`.
    """
    # The most frequent type comes first, because checking 100,000 clips calls this a million times.
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
    """Return rows as an Arrow table.

    A numpy array becomes a list, or a nested list if it has several axes. Arrays are copied as a whole, without
    conversion of each value to a Python number.

    Raises:
        ValueError: an array does not have the fixed length of its column.
    """
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
