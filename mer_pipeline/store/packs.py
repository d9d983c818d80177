"""The store: rows that were computed once, by what they were made from and by what made them.

    <store>/packs/<transform>/<fingerprint>/<sha256 of the content>.parquet            rows, by input digest
                                            <sha256>.problems.parquet                  clips found broken
                                            <sha256>.index                             which pack has which row
                                            fingerprint.json                           the fingerprint's parts

Packs never change and are named by their content, so any number of processes write without locks, and a pack
that is torn or altered does not hash to its name: it is set aside and its rows are computed again. A pack has the
form of a canonical shard, so that one that holds a whole shard *is* the shard. An index is only a shortcut, made
from packs and of no use without them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mer_pipeline.clips import Row
from mer_pipeline.errors import ReadOnlyStore
from mer_pipeline.store.fingerprint import FORMAT, Fingerprint
from mer_pipeline.store.root import Info, StorageRoot, TornFile
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import open_here, read_parquet, table_bytes

PACK, PROBLEMS, INDEX, PARTS = ".parquet", ".problems.parquet", ".index", "fingerprint.json"
PACKS, ASIDE = "packs", "aside"
KEY = "S16"  # a digest's bytes
INDEX_FROM = 8  # packs that no index covers: from here on a new one is written
DAY_S = 86_400.0

PROBLEM_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("input_digest", "error", "message")]
)
INDEX_SCHEMA = pa.schema([("key", pa.binary(16)), ("digest", pa.binary(16)), ("pack", pa.int32()), ("row", pa.int32())])

Keys = npt.NDArray[np.bytes_]


class Store:
    """A folder of packs, at an fsspec URL.

    Raises:
        UsageError: the URL is of no known kind.
    """

    def __init__(self, url: str) -> None:
        self.root = StorageRoot(url)

    def pack_set(self, transform: str, fingerprint: Fingerprint, schema: pa.Schema) -> PackSet:
        """The rows of one transform at one fingerprint.

        Args:
            transform: its name.
            fingerprint: of the transform.
            schema: of its rows, as `stage_schema` gives it.

        Raises:
            StoreError: the store cannot be reached.
        """
        return PackSet(self.root, transform, fingerprint, schema)

    def transforms(self) -> list[str]:
        """Names of the transforms that have rows here."""
        return self.root.folders(PACKS)

    def fingerprints(self, transform: str) -> list[str]:
        """Ids of a transform's fingerprints, the one last used first."""
        used = {name: self.last_used(transform, name) for name in self.root.folders(f"{PACKS}/{transform}")}
        return sorted(used, key=lambda name: (-used[name], name))

    def last_used(self, transform: str, fingerprint: str) -> float:
        """When a pack set was last opened to be written, to the day; seconds since 1970."""
        files = self.files(transform, fingerprint)
        return max((info.written for name, info in files.items()), default=0.0)

    def files(self, transform: str, fingerprint: str) -> dict[str, Info]:
        """All files of a pack set."""
        return self.root.files(f"{PACKS}/{transform}/{fingerprint}")

    def parts(self, transform: str, fingerprint: str) -> dict[str, str] | None:
        """The parts of a stored fingerprint, or None where they are lost."""
        try:
            parts = json.loads(self.root.read(f"{PACKS}/{transform}/{fingerprint}/{PARTS}"))
        except (FileNotFoundError, ValueError):
            return None
        return {key: str(value) for key, value in parts.items()} if isinstance(parts, dict) else None


class PackSet:
    """The rows of one transform at one fingerprint: look up, read, put."""

    def __init__(self, root: StorageRoot, transform: str, fingerprint: Fingerprint, schema: pa.Schema) -> None:
        self.root, self.transform, self.fingerprint, self.schema = root, transform, fingerprint, schema
        self.folder = f"{PACKS}/{transform}/{fingerprint.id}"
        self.set_aside: dict[str, str] = {}  # packs that could not be trusted, and why
        self._gone: set[str] = set()  # names that are not to be looked at again
        self.written = 0  # bytes
        self.refresh()

    def refresh(self) -> None:
        """Learn what is there now."""
        files = self.root.files(self.folder)
        self._files = files
        self._packs: list[str] = []
        self._parts: list[_Entries] = []
        self.problems: dict[str, tuple[str, str]] = {}
        packs = {name for name in files if name.endswith(PACK) and not name.endswith(PROBLEMS)} - self._gone
        uncovered = set(packs)
        self._covering: list[str] = []
        for name in sorted((n for n in files if n.endswith(INDEX)), key=lambda n: (-files[n].size, n)):
            covered = self._read_index(name, packs, uncovered)
            uncovered -= covered
            self._covering += [name] if covered else []
        for name in sorted(uncovered):
            self._read_keys(name)
        self._uncovered = len(uncovered)
        for name in (n for n in files if n.endswith(PROBLEMS)):
            self._read_problems(name)
        self._sort()

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._entries.key)

    def find(self, input_digests: Sequence[str]) -> npt.NDArray[np.int64]:
        """Where the rows made from these inputs are, for `read`; -1 where there is none."""
        wanted = _keys(input_digests)
        if not len(self._entries.key):
            return np.full(len(wanted), -1)
        at = np.searchsorted(self._entries.key, wanted)
        at = np.minimum(at, len(self._entries.key) - 1)
        return np.where(self._entries.key[at] == wanted, at, -1)

    def digests(self, places: npt.NDArray[np.int64]) -> list[str]:
        """The rows' own digests, without reading them."""
        raw = self._entries.digest[places].tobytes()
        return [raw[at : at + 16].hex() for at in range(0, len(raw), 16)]

    def packs_of(self, places: npt.NDArray[np.int64]) -> dict[str, int]:
        """The packs that rows are in, and how many of them are in each."""
        numbers, counts = np.unique(self._entries.pack[places], return_counts=True)
        return {self._packs[number]: int(count) for number, count in zip(numbers, counts, strict=True)}

    def size_of(self, pack: str) -> int:
        """How many rows of a pack are known here."""
        entries = _Entries.joined(self._parts)
        return len(np.unique(entries.key[entries.pack == self._packs.index(pack)]))

    def read(self, places: npt.NDArray[np.int64], columns: Sequence[str] | None = None) -> pa.Table | None:
        """The rows at some places, in that order; None where a pack cannot be trusted.

        Such a pack is set aside, and `find` no longer knows its rows.
        """
        assert (places >= 0).all(), "rows that are not here cannot be read"
        numbers = self._entries.pack[places]
        tables, order = [], []
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            name = self._packs[number]
            data = self.read_pack(name)
            if data is None:
                self.refresh()
                return None
            table = read_parquet(data, columns)
            rows = table.take(pa.array(self._entries.row[places[chosen]], pa.int32()))
            tables.append(rows)
            order.append(chosen)
        if not tables:
            return self.schema.empty_table()
        back = np.argsort(np.concatenate(order))
        return pa.concat_tables(tables).take(pa.array(back, pa.int64()))

    def read_pack(self, name: str) -> bytes | None:
        """A pack's bytes, checked; None where they cannot be trusted (then it is set aside) or are gone."""
        try:
            data = self.root.read(f"{self.folder}/{name}")
        except FileNotFoundError:  # another process put its rows into a larger pack
            self._gone.add(name)
            return None
        if hashlib.sha256(data).hexdigest() != name.removesuffix(PACK).removesuffix(".problems"):
            self._put_aside(name, "torn or altered")
            return None
        return data

    def put(self, table: pa.Table, provenance: Mapping[str, str]) -> None:
        """Keep rows; `table` has the pack set's schema.

        Raises:
            ReadOnlyStore, StoreError: they cannot be kept.
        """
        self.put_bytes(table_bytes(table, provenance), table)

    def put_bytes(self, data: bytes, table: pa.Table) -> str:
        """Keep a pack that is encoded already; its name."""
        name = hashlib.sha256(data).hexdigest() + PACK
        self.open_for_writing()
        self.root.write(f"{self.folder}/{name}", data)
        self.written += len(data)
        self._gone.discard(name)
        if name in self._packs:  # what lay there under this name may have been something else
            self._forget([name])
        self._add(name, table)
        self._uncovered += 1
        self._sort()
        return name

    def put_problems(self, problems: Iterable[Row]) -> None:
        """Remember clips that are broken for good: rows with input_digest, error and message."""
        rows = sorted(
            ({name: row[name] for name in PROBLEM_SCHEMA.names} for row in problems),
            key=lambda row: str(row["input_digest"]),
        )
        if not rows:
            return
        data = table_bytes(to_table(rows, PROBLEM_SCHEMA), {"format": str(FORMAT)})
        self.open_for_writing()
        self.root.write(f"{self.folder}/{hashlib.sha256(data).hexdigest()}{PROBLEMS}", data)
        self.problems |= {str(row["input_digest"]): (str(row["error"]), str(row["message"])) for row in rows}

    def forget_problems(self, input_digests: Iterable[str]) -> int:
        """No longer remember that these are broken; how many were."""
        gone = self.problems.keys() & set(input_digests)
        kept = [
            {"input_digest": key, "error": error, "message": message}
            for key, (error, message) in self.problems.items()
            if key not in gone
        ]
        if gone:
            for name in [n for n in self.root.files(self.folder) if n.endswith(PROBLEMS)]:
                self.root.remove(f"{self.folder}/{name}")
            self.problems = {}
            self.put_problems(kept)
        return len(gone)

    def forget(self, input_digests: Iterable[str] | None = None) -> int:
        """No longer have the rows made from these inputs, or any; how many there were.

        Packs do not change: one that has such rows is replaced by one that has its others. A process that reads at the
        same time finds the new one; one that has the rows in hand already may put them again.

        Raises:
            ReadOnlyStore, StoreError: they cannot be taken out.
        """
        if input_digests is None:
            count = len(self)
            for name in self.root.files(self.folder):
                if name.endswith((PACK, INDEX)):
                    self.root.remove(f"{self.folder}/{name}")
            self.refresh()
            return count
        wanted = list(input_digests)
        count = len(set(self.find(wanted)) - {-1})
        entries = _Entries.joined(self._parts)  # of a row that several packs have, all
        held = [self._packs[number] for number in np.unique(entries.pack[np.isin(entries.key, _keys(wanted))])]
        for name in held:
            data = self.read_pack(name)
            if data is None:
                continue
            table = read_parquet(data)
            others = table.filter(pc.invert(pc.is_in(table["input_digest"], pa.array(wanted, pa.string()))))
            if len(others):
                metadata = table.schema.metadata or {}
                self.put(others, {key.decode().removeprefix("mer."): metadata[key].decode() for key in metadata})
        self.supersede("", held)
        self.forget_problems(wanted)
        return count

    def open_for_writing(self, *, surely: bool = False) -> None:
        """Say that the pack set is in use; at most once a day, unless it must be sure that rows can be kept.

        Raises:
            ReadOnlyStore, StoreError: nothing can be kept here.
        """
        known = self._files.get(PARTS)
        if surely or known is None or time.time() - known.written > DAY_S:
            text = json.dumps(self.fingerprint.parts, indent=1, sort_keys=True, ensure_ascii=False)
            self.root.write(f"{self.folder}/{PARTS}", text.encode())
            self._files[PARTS] = Info(len(text), time.time())

    def supersede(self, pack: str, others: Iterable[str]) -> None:
        """Remove packs whose rows are all in another. A reader who is about to open one looks again."""
        gone = [name for name in others if name != pack]
        for name in gone:
            self.root.remove(f"{self.folder}/{name}")
            self._gone.add(name)
        self._forget(gone)
        self._sort()

    def write_index(self) -> None:
        """Make opening cheap again after many packs were added."""
        if self._uncovered < INDEX_FROM:
            return
        entries = _Entries.joined(self._parts)
        table = pa.table(
            [
                _fixed(entries.key), _fixed(entries.digest), pa.array(entries.pack), pa.array(entries.row)
            ],
            schema=INDEX_SCHEMA,
        )  # fmt: skip
        data = table_bytes(table, {"format": str(FORMAT), "packs": json.dumps(self._packs)})
        self.root.write(f"{self.folder}/{hashlib.sha256(data).hexdigest()}{INDEX}", data)
        for name in self._covering:
            self.root.remove(f"{self.folder}/{name}")
        self._uncovered = 0

    def _read_index(self, name: str, packs: set[str], uncovered: set[str]) -> set[str]:
        """Take from an index what is there and not known yet; the packs that were."""
        path = f"{self.folder}/{name}"
        try:
            data = self.root.read(path)
        except FileNotFoundError:
            return set()
        if hashlib.sha256(data).hexdigest() != name.removesuffix(INDEX):
            self._put_aside(name, "torn or altered")
            return set()
        table = read_parquet(data)
        listed = json.loads((table.schema.metadata or {})[b"mer.packs"])
        new = (set(listed) & packs) & uncovered
        renumber = np.full(len(listed), -1, np.int32)
        for number, pack in enumerate(listed):
            if pack in new:
                renumber[number] = len(self._packs)
                self._packs.append(pack)
        entries = _Entries(
            _column(table["key"]), _column(table["digest"]), renumber[table["pack"].to_numpy()], table["row"].to_numpy()
        )
        self._parts.append(entries.only(entries.pack >= 0))
        return new

    def _read_keys(self, name: str) -> None:
        """Learn a pack's keys from the pack; one that is not of this pack set is set aside."""
        try:
            with self.root.open(f"{self.folder}/{name}") as file:
                parquet = open_here(file)
                metadata = parquet.schema_arrow.metadata or {}
                if metadata.get(b"mer.fingerprint") != self.fingerprint.id.encode() or not parquet.schema_arrow.equals(
                    self.schema
                ):
                    self._put_aside(name, "of another transform or an older form")
                    return
                self._add(name, parquet.read(columns=["input_digest", "digest"], use_threads=False))
        except FileNotFoundError:
            return
        except (pa.ArrowException, TornFile, ValueError) as error:
            self._put_aside(name, f"torn or foreign ({type(error).__name__})")

    def _read_problems(self, name: str) -> None:
        data = self.read_pack(name)
        if data is not None:
            for row in read_parquet(data).to_pylist():
                self.problems[row["input_digest"]] = (row["error"], row["message"])

    def _forget(self, names: Iterable[str]) -> None:
        gone = set(names)
        entries = _Entries.joined(self._parts)
        keep = ~np.isin(entries.pack, [number for number, name in enumerate(self._packs) if name in gone])
        self._parts = [entries.only(keep)]

    def _add(self, name: str, table: pa.Table) -> None:
        number = len(self._packs)
        self._packs.append(name)
        keys, digests = (_keys(table[column].to_pylist()) for column in ("input_digest", "digest"))
        rows = np.arange(len(keys), dtype=np.int32)
        self._parts.append(_Entries(keys, digests, np.full(len(keys), number, np.int32), rows))

    def _sort(self) -> None:
        """One array in the order of keys; of a row that several packs have, the one in the largest comes first."""
        entries = _Entries.joined(self._parts)
        sizes = np.bincount(entries.pack, minlength=len(self._packs))
        order = np.lexsort((entries.pack, -sizes[entries.pack], entries.key))
        entries = entries.only(order)
        first = np.ones(len(order), bool)
        first[1:] = entries.key[1:] != entries.key[:-1]
        self._entries = entries.only(first)
        self._parts = [entries]  # with the others: one of them counts when the first's pack turns out to be lost

    def _put_aside(self, name: str, why: str) -> None:
        """Out of the way and not deleted: someone may want to know what happened to it."""
        self.set_aside[name] = why
        self._gone.add(name)
        try:
            self.root.move(f"{self.folder}/{name}", f"{ASIDE}/{self.transform}/{self.fingerprint.id}/{name}")
        except ReadOnlyStore:
            return


@dataclass(frozen=True)
class _Entries:
    """Columns of an index: key, the row's own digest, number of the pack, row in it."""

    key: Keys
    digest: Keys
    pack: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]

    def only(self, which: npt.NDArray[np.generic]) -> _Entries:
        return _Entries(self.key[which], self.digest[which], self.pack[which], self.row[which])

    @classmethod
    def joined(cls, parts: Sequence[_Entries]) -> _Entries:
        empty = np.zeros(0, np.int32)
        parts = [_Entries(np.zeros(0, KEY), np.zeros(0, KEY), empty, empty), *parts]
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("key", "digest", "pack", "row"))
        )


def _keys(digests: Sequence[str]) -> Keys:
    return np.frombuffer(bytes.fromhex("".join(digests)), KEY)


def _fixed(keys: Keys) -> pa.Array:
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(keys), [None, pa.py_buffer(np.ascontiguousarray(keys))]
    )


def _column(column: pa.ChunkedArray) -> Keys:
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    return np.frombuffer(array.buffers()[1], KEY, len(array), array.offset * 16)
