"""Find packs that are whole shards, and replace packs by the shard that contains them.

This is possible because packs and shards have the same format.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from mer_pipeline.store.inputs import Keys
from mer_pipeline.store.packs import PackSet
from mer_pipeline.tables.shards import open_here, table_bytes

MAX_FRAGMENTS = 8  # a shard whose rows are in more packs than this is stored as one pack


def find_whole(packs: PackSet, keys: Keys, provenance: Mapping[str, str]) -> tuple[bytes, Path | None] | None:
    """Find a pack that is, byte for byte, the shard of some clips.

    Args:
        packs: the pack set to search.
        keys: the clips of the shard.
        provenance: the entries of the shard's footer.

    Returns:
        The pack's bytes, and its path if it is on this machine; None if there is no such pack.
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
    """Store a whole shard as one pack, and remove the packs that it replaces.

    This is done if the rows of the shard are in several packs, and these packs have no other rows or are more than
    `MAX_FRAGMENTS`. Without it, rows that were stored in small packs would stay in many small files for ever. Only
    packs without other rows are removed.

    Args:
        packs: the pack set.
        table: the shard.
        data: the shard's bytes.

    Raises:
        ReadOnlyStore, StoreError: the shard cannot be stored.
    """
    places = packs.find(table["input_digest"].to_pylist())
    if not len(places) or (places < 0).any():
        return
    counts = packs.packs_of(np.unique(places))
    inside = [name for name, count in counts.items() if count == packs.size_of(name)]
    if len(counts) > 1 and (len(inside) == len(counts) or len(counts) > MAX_FRAGMENTS):
        packs.supersede(packs.put_bytes(data, table), inside)


def _writer() -> str:
    """Return the name and version of the writer in Parquet files that this process writes."""
    file = open_here(pa.BufferReader(table_bytes(pa.table({"x": [0]}))))
    return str(file.metadata.created_by)
