"""What is remembered of one transform: the pack set of its fingerprint, and the pack sets of smaller batches.

When the device's memory is short, the engine halves the rows of a batch, and what is made so is kept under a
fingerprint of its own: within the stated tolerance and not the same bytes. It is found again here. Without a
store nothing is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mer_pipeline.clips import Row
from mer_pipeline.errors import StoreError
from mer_pipeline.runtime import Runtime
from mer_pipeline.store.fingerprint import Fingerprint, fingerprint_of
from mer_pipeline.store.packs import PackSet, Store
from mer_pipeline.tables.rows import stage_schema
from mer_pipeline.tables.shards import open_here, sorted_by_clip, table_bytes
from mer_pipeline.transform import Item, Transform

MAX_FRAGMENTS = 8  # packs that a shard may be spread over before it is put together in the store as well


class RowCache:
    """The rows of a transform that are known.

    Raises:
        StoreError: the store cannot be reached.
    """

    def __init__(self, store: Store | None, transform: Transform[Item], device: str) -> None:
        self.fingerprint = fingerprint_of(transform, device)
        self.name, self.rows = transform.name, transform.batch_rows
        self.schema = stage_schema(transform.schema)
        self._store = store
        self._pack_sets: dict[int, PackSet] = {}
        if store is not None:
            self._pack_set(self.rows)
            if device == "cuda" and transform.uses_torch:
                known: set[str] = set(store.root.folders(f"packs/{self.name}"))
                for rows in _halves(self.rows):
                    if self._at(rows).id in known:
                        self._pack_set(rows)

    @property
    def has_store(self) -> bool:
        """Whether anything is remembered at all."""
        return self._store is not None

    @property
    def written(self) -> int:
        """Bytes of packs written."""
        return sum(pack_set.written for pack_set in self._pack_sets.values())

    @property
    def set_aside(self) -> dict[str, str]:
        """Packs that could not be trusted, and why."""
        return {pack: why for pack_set in self._pack_sets.values() for pack, why in pack_set.set_aside.items()}

    def knows(self, input_digests: Sequence[str]) -> list[bool]:
        """Whether each input's row is known, or is known to be broken."""
        known = np.zeros(len(input_digests), bool)
        for pack_set in self._pack_sets.values():
            known |= pack_set.find(input_digests) >= 0
        return [bool(k) or self.problem(d) is not None for k, d in zip(known, input_digests, strict=True)]

    def problem(self, input_digest: str) -> tuple[str, str] | None:
        """Error class and message of an input that is broken for good."""
        for pack_set in self._pack_sets.values():
            if input_digest in pack_set.problems:
                return pack_set.problems[input_digest]
        return None

    def digests(self, input_digests: Sequence[str]) -> list[str | None]:
        """Digests of the known rows, None for the others; nothing is read."""
        found: list[str | None] = [None] * len(input_digests)
        for pack_set in self._pack_sets.values():
            places = pack_set.find(input_digests)
            at = np.flatnonzero(places >= 0)
            for index, value in zip(at, pack_set.digests(places[at]), strict=True):
                found[index] = found[index] or value
        return found

    def read(self, clip_ids: Sequence[str], input_digests: Sequence[str]) -> pa.Table | None:
        """The known rows of clips as a table of the stage, in the given order.

        None where a pack turned out not to be trusted; then some are no longer known.
        """
        left = np.arange(len(clip_ids))
        tables, order = [], []
        for pack_set in list(self._pack_sets.values()):
            places = pack_set.find([input_digests[int(at)] for at in left])
            here = places >= 0
            table = pack_set.read(places[here])
            if table is None:
                return None
            tables.append(table)
            order.append(left[here])
            left = left[~here]
        if len(left):
            return None
        table = pa.concat_tables([self.schema.empty_table(), *tables])
        table = table.take(pa.array(np.argsort(np.concatenate([np.zeros(0, np.int64), *order])), pa.int64()))
        if table["input_digest"].to_pylist() != list(input_digests):
            raise StoreError(
                f"{self.name}: an index of the store names rows that are others'; remove its *.index files"
            )
        # The same content may have been seen under another name.
        return table.set_column(0, self.schema.field("clip_id"), pa.array(list(clip_ids), pa.string()))

    def whole(
        self, clip_ids: Sequence[str], input_digests: Sequence[str], shard: str
    ) -> tuple[bytes, Path | None] | None:
        """A pack that is, byte for byte, the shard of these clips: its bytes, and its path where it has one here.

        None where there is no such pack.
        """
        pack_set = self._pack_sets.get(self.rows)
        if pack_set is None:
            return None
        places = pack_set.find(input_digests)
        if not len(places) or (places < 0).any():
            return None
        packs = pack_set.packs_of(places)
        if len(packs) > 1:
            return None
        (name,) = packs
        data = pack_set.read_pack(name)
        if data is None:
            pack_set.refresh()
            return None
        file = open_here(pa.BufferReader(data))
        wanted = {f"mer.{key}".encode(): value.encode() for key, value in self.provenance(shard).items()}
        own = file.schema_arrow.metadata or {}
        if file.metadata.created_by != _writer() or any(own.get(key) != value for key, value in wanted.items()):
            return None
        columns = file.read(columns=["clip_id", "input_digest"], use_threads=False)
        if columns["clip_id"].to_pylist() != list(clip_ids):
            return None
        if columns["input_digest"].to_pylist() != list(input_digests):
            return None
        return data, pack_set.root.local(f"{pack_set.folder}/{name}")

    def open_for_writing(self, *, surely: bool) -> None:
        """Say that the rows are in use, and make sure that new ones can be kept where some will be computed.

        Raises:
            ReadOnlyStore, StoreError: they cannot.
        """
        for pack_set in self._pack_sets.values():
            pack_set.open_for_writing(surely=surely)

    def keep(self, table: pa.Table, rows: int, shard: str) -> None:
        """Keep new rows as a pack of their own.

        Raises:
            ReadOnlyStore, StoreError: they cannot be kept.
        """
        if self._store is not None and len(table):
            fingerprint = self._at(rows)
            self._pack_set(rows).put(sorted_by_clip(table), self.provenance(shard, fingerprint))

    def keep_shard(self, table: pa.Table, data: bytes) -> None:
        """Keep a whole shard as a pack; `data` is `bytes_of(table)`.

        Raises:
            ReadOnlyStore, StoreError: it cannot be kept.
        """
        if self._store is not None and len(table):
            self._pack_set(self.rows).put_bytes(data, table)

    def keep_problems(self, problems: Iterable[Row]) -> None:
        """Remember clips that are broken for good."""
        if self._store is not None:
            self._pack_set(self.rows).put_problems(problems)

    def settle(self, table: pa.Table, data: bytes) -> None:
        """Keep a whole shard as one pack in place of the packs that it was put together from.

        Done where all rows of those packs are in it, or where there are too many of them. Without it, rows
        that grew pack by pack would lie on disk in many small files for ever.
        """
        pack_set = self._pack_sets.get(self.rows)
        if pack_set is None:
            return
        places = pack_set.find(table["input_digest"].to_pylist())
        if not len(places) or (places < 0).any():
            return
        packs = pack_set.packs_of(np.unique(places))
        inside = [name for name, count in packs.items() if count == pack_set.size_of(name)]
        if len(packs) > 1 and (len(inside) == len(packs) or len(packs) > MAX_FRAGMENTS):
            pack_set.supersede(pack_set.put_bytes(data, table), inside)

    def stored_parts(self) -> Mapping[str, str] | None:
        """The parts of the fingerprint that this transform's rows were last kept under; None where there are none."""
        if self._store is None:
            return None
        if any(len(pack_set) for pack_set in self._pack_sets.values()):
            return self.fingerprint.parts
        for other in self._store.fingerprints(self.name):
            parts = self._store.parts(self.name, other)
            if parts is not None and other != self.fingerprint.id:
                return parts
        return None

    def close(self) -> None:
        """Make the next opening cheap."""
        for pack_set in self._pack_sets.values():
            pack_set.write_index()

    def forget_problems(self, input_digests: Iterable[str]) -> int:
        """No longer remember that these inputs are broken; how many were."""
        wanted = list(input_digests)
        return sum(pack_set.forget_problems(wanted) for pack_set in self._pack_sets.values())

    def forget(self, input_digests: Sequence[str] | None = None) -> int:
        """No longer have the rows of these inputs, or any row, and nothing of what is broken; how many rows there were.

        Raises:
            ReadOnlyStore, StoreError: they cannot be taken out.
        """
        return sum(pack_set.forget(input_digests) for pack_set in self._pack_sets.values())

    def provenance(self, shard: str, fingerprint: Fingerprint | None = None) -> Mapping[str, str]:
        """What a shard's footer says."""
        return {"transform": self.name, "shard": shard, **(fingerprint or self.fingerprint).provenance()}

    def bytes_of(self, table: pa.Table, shard: str) -> bytes:
        """A shard's bytes."""
        return table_bytes(table, self.provenance(shard))

    def _pack_set(self, rows: int) -> PackSet:
        assert self._store is not None
        if rows not in self._pack_sets:
            self._pack_sets[rows] = self._store.pack_set(self.name, self._at(rows), self.schema)
        return self._pack_sets[rows]

    def _at(self, rows: int) -> Fingerprint:
        return self.fingerprint if rows == self.rows else self.fingerprint.with_rows(rows)


def row_cache_of(transform: Transform[Item], runtime: Runtime) -> RowCache:
    """What this machine's store knows of a transform.

    Raises:
        StoreError: the store cannot be reached.
    """
    url = runtime.store_url
    device = runtime.device_kind() if transform.uses_torch else "any"
    return RowCache(None if url is None else Store(url), transform, device)


def _halves(rows: int) -> list[int]:
    halves = []
    while rows > 1:
        rows //= 2
        halves.append(rows)
    return halves


def _writer() -> str:
    """What a Parquet file that is written here says of its writer."""
    file = open_here(pa.BufferReader(table_bytes(pa.table({"x": [0]}))))
    return str(file.metadata.created_by)
