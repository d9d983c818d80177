"""Packs: files with the rows of one transform and one fingerprint, which never change and are named by their content.

Any number of processes can write packs without locks. The name of a damaged pack is not the hash of its content; such a
pack is set aside, and its rows are computed again. A pack has the format of a shard, so a pack with all rows of a shard
is byte for byte that shard. `store.py` says where packs lie.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import ReadOnlyStore
from mer_pipeline.store.fingerprint import Fingerprint
from mer_pipeline.store.index import Index, Places
from mer_pipeline.store.problems import Problems, from_bytes, to_bytes
from mer_pipeline.store.root import Info, StorageRoot, TornFile
from mer_pipeline.tables.shards import open_here, read_parquet, table_bytes

PACK, PROBLEMS, INDEX, PARTS = ".parquet", ".problems.parquet", ".index", "fingerprint.json"
PACKS, ASIDE = "packs", "aside"
INDEX_FROM = 8  # a new index is written if at least this number of packs are in no index
DAY_S = 86_400.0
FOREIGN = "of another transform or an older form"


class PackSet:
    """The packs of one transform with one fingerprint. Rows are found, read and stored here.

    Attributes:
        problems: the error's class and message of each input that is known to be broken, by input digest.
        set_aside: the reason for each file that was damaged and therefore set aside, by the file's name.
        written: the number of bytes written.
    """

    def __init__(self, root: StorageRoot, transform: str, fingerprint: Fingerprint, schema: pa.Schema) -> None:
        self.root, self.transform, self.fingerprint, self.schema = root, transform, fingerprint, schema
        self.folder = f"{PACKS}/{transform}/{fingerprint.id}"
        self.set_aside: dict[str, str] = {}
        self.problems: dict[str, tuple[str, str]] = {}
        self.written = 0
        self._index = Index()
        self._gone: set[str] = set()  # files that were removed, but may still be in a listing
        self._refused: set[str] = set()  # damaged packs that this process may not move
        self._covering: list[str] = []  # index files that have packs of this set
        self._uncovered = 0  # number of packs that are in no index file
        self._problem_files: dict[str, Problems] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read which files other processes have added or removed."""
        self._files = files = self.root.files(self.folder)
        for name in self._gone | self._refused:
            files.pop(name, None)
        packs = {name for name in files if name.endswith(PACK) and not name.endswith(PROBLEMS)}
        self._index.forget(set(self._index.packs) - packs)
        unknown = packs - set(self._index.packs)
        for name in sorted((n for n in files if n.endswith(INDEX)), key=lambda n: (-files[n].size, n)):
            if unknown and name not in self._covering:
                covered = self._read_index(name, unknown)
                unknown -= covered
                self._covering += [name] if covered else []
        for name in sorted(unknown):
            self._read_keys(name)
        self._uncovered += len(unknown)
        self._problem_files = {
            name: self._problem_files[name] if name in self._problem_files else self._read_problems(name)
            for name in sorted(name for name in files if name.endswith(PROBLEMS))
        }
        self.problems = {key: problem for file in self._problem_files.values() for key, problem in file.items()}

    def look_again(self) -> None:
        """Refresh after other processes have written. A pack that was gone before may be here again."""
        self._gone.clear()
        self.refresh()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._index)

    def find(self, input_digests: Sequence[str]) -> Places:
        """Return the places of the rows of these inputs, for `read`: int64, (n,); -1 where there is no row."""
        return self._index.find(input_digests)

    def digests(self, places: Places) -> list[str]:
        """Return the row digests at some places, without reading the rows."""
        return self._index.digests(places)

    def packs_of(self, places: Places) -> dict[str, int]:
        """Return the number of rows in each pack that has rows at these places, by the pack's name."""
        return {name: len(rows) for name, _, rows in self._index.rows_by_pack(places)}

    def packs_with(self, input_digests: Sequence[str]) -> list[str]:
        """All packs that have a row made from these inputs."""
        return self._index.packs_with(input_digests)

    def size_of(self, pack: str) -> int:
        """Return the number of rows in a pack."""
        return self._index.size_of(pack)

    def read(self, places: Places) -> pa.Table | None:
        """Read the rows at some places, in that order; return None if a pack or an index is damaged or gone.

        What is damaged is set aside, and `find` has to be called again.
        """
        assert (places >= 0).all(), "rows that are not here cannot be read"
        wanted, tables, order = self._index.keys(places), [], []
        for name, chosen, rows in self._index.rows_by_pack(places):
            data = self.read_pack(name)
            if data is None:
                self.refresh()
                return None
            table = read_parquet(data)
            keys = table["input_digest"].to_pylist()
            if any(row >= len(keys) or keys[row] != wanted[at] for at, row in zip(chosen, rows, strict=True)):
                self._distrust(name)
                return None
            tables.append(self.in_form(table).take(pa.array(rows, pa.int32())))
            order.append(chosen)
        if not tables:
            return self.schema.empty_table()
        back = np.argsort(np.concatenate(order))
        return pa.concat_tables(tables).take(pa.array(back, pa.int64()))

    def in_form(self, table: pa.Table) -> pa.Table:
        """Return a table with the names that the schema has for the items of lists, for which Parquet has its own."""
        return pa.concat_tables([self.schema.empty_table(), table])

    def read_pack(self, name: str) -> bytes | None:
        """Read and check a pack's bytes; return None if the pack is damaged (it is then set aside) or gone."""
        try:
            data = self.root.read(f"{self.folder}/{name}")
        except FileNotFoundError:  # another process has put its rows into a larger pack
            self._gone.add(name)
            return None
        if hashlib.sha256(data).hexdigest() != name.removesuffix(PACK).removesuffix(".problems"):
            self._put_aside(name, "torn or altered")
            return None
        try:
            if name.endswith(PROBLEMS) or self._is_ours(open_here(pa.BufferReader(data))):
                return data
        except pa.ArrowException:
            pass
        self._put_aside(name, FOREIGN)
        return None

    def _is_ours(self, parquet: pq.ParquetFile) -> bool:
        schema = parquet.schema_arrow
        made_by = (schema.metadata or {}).get(b"mer.fingerprint")
        return made_by == self.fingerprint.id.encode() and bool(schema.equals(self.schema))

    def put(self, table: pa.Table, provenance: Mapping[str, str]) -> None:
        """Store rows as a pack. `table` must have the pack set's schema.

        Raises:
            ReadOnlyStore, StoreError: the rows cannot be stored.
        """
        self.put_bytes(table_bytes(table, provenance), table)

    def put_bytes(self, data: bytes, table: pa.Table) -> str:
        """Store a pack that is already encoded, and return its name. Raises as `put`."""
        name = hashlib.sha256(data).hexdigest() + PACK
        self.open_for_writing()
        self.root.write(f"{self.folder}/{name}", data)
        self.written += len(data)
        self._gone.discard(name)
        self._refused.discard(name)
        self._index.add(name, table)  # this also replaces the entries of a damaged file of that name
        self._uncovered += 1
        return name

    def put_problems(self, problems: Iterable[Row]) -> None:
        """Store that inputs are broken, given as rows with input_digest, error and message. Raises as `put`."""
        rows = list(problems)
        if not rows:
            return
        data = to_bytes(rows)
        self.open_for_writing()
        self.root.write(f"{self.folder}/{hashlib.sha256(data).hexdigest()}{PROBLEMS}", data)
        self.problems |= {str(row["input_digest"]): (str(row["error"]), str(row["message"])) for row in rows}

    def forget_problems(self, input_digests: Iterable[str]) -> int:
        """Forget that these inputs are broken, and return how many of them were. Raises as `put`."""
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

    def open_for_writing(self, *, surely: bool = False) -> None:
        """Record that the pack set is in use, by writing the fingerprint's parts.

        This is done at most once a day; if `surely`, it is always done, as a test that rows can be stored.

        Raises:
            ReadOnlyStore, StoreError: nothing can be stored here.
        """
        known = self._files.get(PARTS)
        if surely or known is None or time.time() - known.written > DAY_S:
            text = json.dumps(self.fingerprint.parts, indent=1, sort_keys=True, ensure_ascii=False)
            self.root.write(f"{self.folder}/{PARTS}", text.encode())
            self._files[PARTS] = Info(len(text), time.time())

    def supersede(self, pack: str, others: Iterable[str]) -> None:
        """Remove packs whose rows are all in another pack. A reader that misses one of them refreshes its listing."""
        gone = [name for name in others if name != pack]
        for name in gone:
            self.root.remove(f"{self.folder}/{name}")
            self._gone.add(name)
        self._index.forget(gone)

    def write_index(self) -> None:
        """Write an index if many packs are not in one, so that opening the pack set is fast again."""
        if self._uncovered < INDEX_FROM:
            return
        data = self._index.to_bytes()
        written = f"{hashlib.sha256(data).hexdigest()}{INDEX}"
        self.root.write(f"{self.folder}/{written}", data)
        for name in self._covering:
            if name != written:
                self.root.remove(f"{self.folder}/{name}")
        self._covering, self._uncovered = [written], 0

    def _read_index(self, name: str, packs: set[str]) -> set[str]:
        """Add the entries that an index file has of the given packs, and return the packs that were in it."""
        try:
            data = self.root.read(f"{self.folder}/{name}")
        except FileNotFoundError:
            return set()
        if hashlib.sha256(data).hexdigest() != name.removesuffix(INDEX):
            self._put_aside(name, "torn or altered")
            return set()
        try:
            return self._index.add_file(data, packs)
        except ValueError as error:
            self._put_aside(name, f"no index ({error})")
            return set()

    def _read_keys(self, name: str) -> None:
        """Read a pack's keys from the pack itself. A pack that does not belong to this pack set is set aside."""
        try:
            with self.root.open(f"{self.folder}/{name}") as file:
                parquet = open_here(file)
                if not self._is_ours(parquet):
                    self._put_aside(name, FOREIGN)
                    return
                self._index.add(name, parquet.read(columns=["input_digest", "digest"], use_threads=False))
        except FileNotFoundError:
            return
        except (pa.ArrowException, TornFile, ValueError) as error:
            self._put_aside(name, f"torn or foreign ({type(error).__name__})")

    def _read_problems(self, name: str) -> Problems:
        data = self.read_pack(name)
        try:
            return {} if data is None else from_bytes(data)
        except ValueError as error:
            self._put_aside(name, f"no problem file ({error})")
            return {}

    def _distrust(self, pack: str) -> None:
        """A pack has other rows than is said of it: learn the keys of all packs from the packs."""
        for name in self._covering or [pack]:
            self._put_aside(name, "does not fit the packs")
        self._covering, self._index = [], Index()
        self.refresh()

    def _put_aside(self, name: str, why: str) -> None:
        """Move a damaged file to another folder. It is not deleted, so that a user can find out what happened."""
        self.set_aside[name] = why
        self._gone.add(name)
        try:
            self.root.move(f"{self.folder}/{name}", f"{ASIDE}/{self.transform}/{self.fingerprint.id}/{name}")
        except ReadOnlyStore:
            self._refused.add(name)
