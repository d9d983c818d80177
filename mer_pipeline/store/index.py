"""Which pack has which row, by the digest of what the row was made from.

In memory it is four columns in the order of keys. As a file (`*.index`) it is a shortcut: opening a pack set then reads
one file and not each pack. It is made from packs and of no use without them.
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

KEY = "S16"  # a digest's bytes
SCHEMA = pa.schema([("key", pa.binary(16)), ("digest", pa.binary(16)), ("pack", pa.int32()), ("row", pa.int32())])

Digests = npt.NDArray[np.bytes_]
Places = npt.NDArray[np.int64]  # positions of rows here; they hold until a pack is added or forgotten


class Index:
    """The rows of some packs. Of a row that several packs have, the one in the largest pack counts.

    Attributes:
        packs: their names, by number; empty where one was forgotten.
    """

    def __init__(self) -> None:
        self.packs: list[str] = []
        self._parts: list[_Entries] = []  # with every pack's row of a key: one counts when another pack is lost
        self._unique: _Entries | None = None

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._entries.key)

    def find(self, input_digests: Sequence[str]) -> Places:
        """Where the rows made from these inputs are; -1 where there is none."""
        wanted, known = _keys(input_digests), self._entries.key
        if not len(known):
            return np.full(len(wanted), -1)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[at] == wanted, at, -1)

    def digests(self, places: Places) -> list[str]:
        """The rows' own digests."""
        return _hex(self._entries.digest[places])

    def rows_by_pack(self, places: Places) -> Iterator[tuple[str, Places, npt.NDArray[np.int32]]]:
        """The packs that rows are in: of each its name, which of `places` are in it, and their row numbers there."""
        numbers = self._entries.pack[places]
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            yield self.packs[number], chosen, self._entries.row[places[chosen]]

    def size_of(self, pack: str) -> int:
        """How many rows a pack has."""
        entries = _joined(self._parts)
        return len(np.unique(entries.key[entries.pack == self.packs.index(pack)]))

    def packs_with(self, input_digests: Sequence[str]) -> list[str]:
        """All packs that have a row of these; of a row that several packs have, each of them."""
        entries = _joined(self._parts)
        return [self.packs[number] for number in np.unique(entries.pack[np.isin(entries.key, _keys(input_digests))])]

    def add(self, pack: str, table: pa.Table) -> None:
        """Add a pack by its columns input_digest and digest; one of that name that is here already is replaced."""
        self.forget([pack])
        keys, digests = (_keys(table[column].to_pylist()) for column in ("input_digest", "digest"))
        rows = np.arange(len(keys), dtype=np.int32)
        self._append(_Entries(keys, digests, np.full(len(keys), len(self.packs), np.int32), rows))
        self.packs.append(pack)

    def forget(self, packs: Iterable[str]) -> None:
        """The rows of some packs are there no more."""
        gone = set(packs) & set(self.packs)
        if gone:
            entries = _joined(self._parts)
            numbers = [number for number, name in enumerate(self.packs) if name in gone]
            self._parts, self._unique = [entries.only(~np.isin(entries.pack, numbers))], None
            self.packs = ["" if name in gone else name for name in self.packs]  # the others keep their numbers

    def to_bytes(self) -> bytes:
        """As a file."""
        entries = _joined(self._parts)
        columns = [_fixed(entries.key), _fixed(entries.digest), pa.array(entries.pack), pa.array(entries.row)]
        return table_bytes(pa.table(columns, schema=SCHEMA), {"format": str(FORMAT), "packs": json.dumps(self.packs)})

    def add_file(self, data: bytes, present: Collection[str]) -> set[str]:
        """Add what a file says of the packs that are present and not here yet; their names.

        Raises:
            ValueError: it is no index. Whether it fits the packs is seen when these are read.
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
        """One entry of each key, in the order of keys."""
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
    """Columns: key, the row's own digest, number of the pack, row in it."""

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
