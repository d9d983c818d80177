"""The index of a pack set: which pack has which row, by input digest.

In memory, the index is four columns, sorted by key. As a file (`*.index`) it saves time, because opening a pack set
then reads one file instead of every pack. It contains nothing that the packs do not have.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mer_pipeline.base.errors import StageError
from mer_pipeline.store.fingerprint import FORMAT
from mer_pipeline.tables.shards import read_parquet, table_bytes

KEY = "S16"  # NumPy type of a key, the 16 bytes of an input digest
SCHEMA = pa.schema([("key", pa.binary(16)), ("digest", pa.binary(16)), ("pack", pa.int32()), ("row", pa.int32())])

Digests = npt.NDArray[np.bytes_]
Places = npt.NDArray[np.int64]  # positions of rows in the index; valid until a pack is added or removed


class Index:
    """The rows of some packs. If several packs have the same row, the row in the largest pack is used.

    Attributes:
        packs: the names of the packs, by number; "" for a pack that was removed.
    """

    def __init__(self) -> None:
        self.packs: list[str] = []
        self._parts: list[_Entries] = []  # entries of all packs, so that a row is still found when one pack is lost
        self._unique: _Entries | None = None

    def __len__(self) -> int:
        """Return the number of different rows."""
        return len(self._entries.key)

    def find(self, input_digests: Sequence[str]) -> Places:
        """Return the places of the rows of these inputs, (n,); -1 where there is no row."""
        wanted, known = _keys(input_digests), self._entries.key
        if not len(known):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[at] == wanted, at, -1)

    def digests(self, places: Places) -> list[str]:
        """Return the row digests at some places."""
        return _hex(self._entries.digest[places])

    def rows_by_pack(self, places: Places) -> Iterator[tuple[str, Places, npt.NDArray[np.int32]]]:
        """Group places by pack.

        Yields:
            A pack's name, the indices into `places` of the rows in it, and the numbers of these rows in the pack.
        """
        numbers = self._entries.pack[places]
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            yield self.packs[number], chosen, self._entries.row[places[chosen]]

    def size_of(self, pack: str) -> int:
        """Return the number of different rows in a pack."""
        entries = _joined(self._parts)
        return len(np.unique(entries.key[entries.pack == self.packs.index(pack)]))

    def packs_with(self, input_digests: Sequence[str]) -> list[str]:
        """Return all packs that have a row of these inputs, also those whose copy of the row is not used."""
        entries = _joined(self._parts)
        return [self.packs[number] for number in np.unique(entries.pack[np.isin(entries.key, _keys(input_digests))])]

    def add(self, pack: str, table: pa.Table) -> None:
        """Add a pack, or replace the pack of that name. `table` has its columns `input_digest` and `digest`."""
        self.forget([pack])
        keys, digests = (_keys(table[column].to_pylist()) for column in ("input_digest", "digest"))
        rows = np.arange(len(keys), dtype=np.int32)
        self._append(_Entries(keys, digests, np.full(len(keys), len(self.packs), np.int32), rows))
        self.packs.append(pack)

    def forget(self, packs: Iterable[str]) -> None:
        """Remove the entries of some packs."""
        gone = set(packs) & set(self.packs)
        if gone:
            entries = _joined(self._parts)
            numbers = [number for number, name in enumerate(self.packs) if name in gone]
            self._parts, self._unique = [entries.only(~np.isin(entries.pack, numbers))], None
            self.packs = ["" if name in gone else name for name in self.packs]  # the others keep their numbers

    def to_bytes(self) -> bytes:
        """Return the content of an index file."""
        entries = _joined(self._parts)
        columns = [_fixed(entries.key), _fixed(entries.digest), pa.array(entries.pack), pa.array(entries.row)]
        return table_bytes(pa.table(columns, schema=SCHEMA), {"format": str(FORMAT), "packs": json.dumps(self.packs)})

    def add_file(self, data: bytes, present: Collection[str]) -> set[str]:
        """Add entries from an index file.

        Args:
            data: the content of the file.
            present: the packs that exist; entries of other packs are left out.

        Returns:
            The names of the packs that were added.

        Raises:
            ValueError: the content is no index. Whether it fits the packs is seen when these are read.
        """
        table, listed = _read(data)
        new = set(listed) & set(present) - set(self.packs)
        renumber = np.full(len(listed), -1, np.int32)
        for number, pack in enumerate(listed):
            if pack in new:
                renumber[number] = len(self.packs)
                self.packs.append(pack)
        key, digest = (_column(table[name]) for name in ("key", "digest"))
        entries = _Entries(key, digest, renumber[table["pack"].to_numpy()], table["row"].to_numpy())
        self._append(entries.only(entries.pack >= 0))
        return new

    def keys(self, places: Places) -> list[str]:
        """What the rows were made from."""
        return _hex(self._entries.key[places])

    def _append(self, entries: _Entries) -> None:
        self._parts.append(entries)
        self._unique = None

    @property
    def _entries(self) -> _Entries:
        """One entry for each key, sorted by key."""
        if self._unique is None:
            entries = _joined(self._parts)
            sizes = np.bincount(entries.pack, minlength=len(self.packs))
            order = np.lexsort((entries.pack, -sizes[entries.pack], entries.key))
            entries = entries.only(order)
            first = np.ones(len(order), bool)
            first[1:] = entries.key[1:] != entries.key[:-1]
            self._parts, self._unique = [entries], entries.only(first)
        return self._unique


@dataclass(frozen=True)
class _Entries:
    """Columns of n entries: the key, the row digest, the number of the pack, and the number of the row in the pack."""

    key: Digests
    digest: Digests
    pack: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]

    def only(self, which: npt.NDArray[np.generic]) -> _Entries:
        return _Entries(self.key[which], self.digest[which], self.pack[which], self.row[which])


def _joined(parts: Sequence[_Entries]) -> _Entries:
    empty = np.zeros(0, np.int32)
    parts = [_Entries(np.zeros(0, KEY), np.zeros(0, KEY), empty, empty), *parts]
    return _Entries(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("key", "digest", "pack", "row"))
    )


def _read(data: bytes) -> tuple[pa.Table, list[str]]:
    """A file's table, and the packs that it names by number.

    Raises:
        ValueError: it is no index.
    """
    try:
        table = read_parquet(data)
    except StageError as error:
        raise ValueError(str(error)) from None
    if not table.schema.equals(SCHEMA) or any(column.null_count for column in table.columns):
        raise ValueError("it has other columns")
    listed = json.loads((table.schema.metadata or {}).get(b"mer.packs", b"null"))
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError("it names no packs")
    numbers, rows = (table[name].to_numpy() for name in ("pack", "row"))
    if len(table) and not (numbers.min() >= 0 and numbers.max() < len(listed) and rows.min() >= 0):
        raise ValueError("it names packs or rows that it does not have")
    return table, listed


def _hex(digests: Digests) -> list[str]:
    raw = digests.tobytes()
    return [raw[at : at + 16].hex() for at in range(0, len(raw), 16)]


def _keys(digests: Sequence[str]) -> Digests:
    return np.frombuffer(bytes.fromhex("".join(digests)), KEY)


def _fixed(keys: Digests) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(keys))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(keys), [None, data])


def _column(column: pa.ChunkedArray) -> Digests:
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    return np.frombuffer(array.buffers()[1], KEY, len(array), array.offset * 16)
