"""Packs and shards have one form: a pack may be a shard already, and a shard takes the place of the packs in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from mer_pipeline.store.inputs import Keys
from mer_pipeline.store.packs import PackSet
from mer_pipeline.tables.shards import open_here, table_bytes

MAX_FRAGMENTS = 8  # packs that a shard may be spread over before it is put together in the store as well


def find_whole(packs: PackSet, keys: Keys, provenance: Mapping[str, str]) -> tuple[bytes, Path | None] | None:
    """A pack that is, byte for byte, the shard of some clips.

    Args:
        packs: where to look.
        keys: of the clips.
        provenance: what the shard's footer says.

    Returns:
        Its bytes, and its path where it has one on this machine; None where there is no such pack.
    """
    places = packs.find(keys.input_digests)
    if not len(places) or (places < 0).any():
        return None
    names = packs.packs_of(places)
    if len(names) > 1:
        return None
    (name,) = names
    data = packs.read_pack(name)
    if data is None:
        packs.refresh()
        return None
    file = open_here(pa.BufferReader(data))
    wanted = {f"mer.{key}".encode(): value.encode() for key, value in provenance.items()}
    own = file.schema_arrow.metadata or {}
    if file.metadata.created_by != _writer() or any(own.get(key) != value for key, value in wanted.items()):
        return None
    columns = file.read(columns=["clip_id", "input_digest"], use_threads=False)
    if columns["clip_id"].to_pylist() != keys.clip_ids:
        return None
    if columns["input_digest"].to_pylist() != keys.input_digests:
        return None
    return data, packs.root.local(f"{packs.folder}/{name}")


def settle(packs: PackSet, table: pa.Table, data: bytes) -> None:
    """Keep a whole shard as one pack in place of the packs that it was put together from.

    Done where all rows of those packs are in it, or where there are too many of them. Without it, rows that grew pack
    by pack would lie on disk in many small files for ever.

    Args:
        packs: where they are.
        table: the shard.
        data: its bytes.

    Raises:
        ReadOnlyStore, StoreError: it cannot be kept.
    """
    places = packs.find(table["input_digest"].to_pylist())
    if not len(places) or (places < 0).any():
        return
    counts = packs.packs_of(np.unique(places))
    inside = [name for name, count in counts.items() if count == packs.size_of(name)]
    if len(counts) > 1 and (len(inside) == len(counts) or len(counts) > MAX_FRAGMENTS):
        packs.supersede(packs.put_bytes(data, table), inside)


def _writer() -> str:
    """What a Parquet file that is written here says of its writer."""
    file = open_here(pa.BufferReader(table_bytes(pa.table({"x": [0]}))))
    return str(file.metadata.created_by)
