"""A file of the store whose hash is right and whose content is wrong is set aside, and its rows are computed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from mer_pipeline.store.index import SCHEMA as INDEX_SCHEMA
from mer_pipeline.store.packs import INDEX, INDEX_FROM, PACK, PROBLEMS
from mer_pipeline.store.problems import SCHEMA as PROBLEM_SCHEMA
from mer_pipeline.tables.shards import read_parquet, table_bytes
from tests.store.test_packs import PROVENANCE, digest, pack_set, packs, read, table

NUMBERS = range(INDEX_FROM + 2)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A store of a few packs and an index."""
    on = pack_set(tmp_path)
    for number in NUMBERS:
        on.put(table([number]), PROVENANCE)
    on.write_index()
    (found,) = (tmp_path / "packs").rglob(f"*{INDEX}")
    return found


def replaced(path: Path, data: bytes, suffix: str) -> Path:
    """A file in another's place, under the name that its content gives it."""
    path.unlink()
    new = path.with_name(hashlib.sha256(data).hexdigest() + suffix)
    new.write_bytes(data)
    return new


def column(data: bytes, name: str, change: Callable[[list[object]], list[object]]) -> bytes:
    """An index with another column."""
    told = read_parquet(data)
    at = told.schema.get_field_index(name)
    values = pa.array(change(told[name].to_pylist()), INDEX_SCHEMA.field(name).type)
    metadata = {key.decode().removeprefix("mer."): value.decode() for key, value in told.schema.metadata.items()}
    return table_bytes(told.set_column(at, INDEX_SCHEMA.field(name), values), metadata)


def names(data: bytes, packs: object) -> bytes:
    """An index with another list of packs."""
    return table_bytes(read_parquet(data), {"packs": json.dumps(packs)})


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "no Parquet": lambda data: b"no index",
    "empty": lambda data: b"",
    "another table": lambda data: table_bytes(table([1]), PROVENANCE),
    "no list of packs": lambda data: table_bytes(read_parquet(data)),
    "a list of numbers": lambda data: names(data, [1, 2]),
    "no list": lambda data: names(data, {"a": 1}),
    "too few packs": lambda data: names(data, []),
    "null": lambda data: column(data, "row", lambda rows: [None, *rows[1:]]),
    "a negative row": lambda data: column(data, "row", lambda rows: [-1] * len(rows)),
    "rows that no pack has": lambda data: column(data, "row", lambda rows: [99] * len(rows)),
    "the packs of others": lambda data: column(data, "pack", lambda rows: rows[::-1]),
    "keys of nothing": lambda data: column(data, "key", lambda keys: [b"0" * 16] * len(keys)),
}


@pytest.mark.outcome(
    "an index or a problem file is torn or altered, is none, or does not fit the packs, also where its hash is right",
    "set aside; rows are looked for in the packs",
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_index_that_is_wrong_is_no_index(damage: str, index: Path, tmp_path: Path) -> None:
    """All rows are found in their packs, where the index does not hide them."""
    bad = replaced(index, DAMAGES[damage](index.read_bytes()), INDEX)
    on = pack_set(tmp_path)
    wanted = list(NUMBERS)
    if damage == "keys of nothing":  # the rows seem to be missing, so they are computed, and put again
        on.put(table(wanted), PROVENANCE)
        assert read(on, wanted) == wanted
        return
    found = read(on, wanted)
    assert found in (None, wanted), "wrong rows are never given"
    assert read(on, wanted) == wanted
    assert bad.name in on.set_aside
    assert not bad.exists()
    assert read(pack_set(tmp_path), wanted) == wanted


PROBLEM = {"input_digest": digest(1), "error": "BadInput", "message": "no"}


@pytest.mark.outcome(
    "an index or a problem file is torn or altered, is none, or does not fit the packs, also where its hash is right",
    "and broken clips are tried again",
)
@pytest.mark.parametrize(
    "data",
    [
        b"no problem file",
        b"",
        table_bytes(table([1]), PROVENANCE),
        table_bytes(pa.table({"input_digest": [digest(1)], "error": ["BadInput"]})),
        table_bytes(pa.table({"input_digest": [1], "error": ["BadInput"], "message": ["no"]})),
        table_bytes(pa.table({name: pa.array([None], pa.string()) for name in PROBLEM_SCHEMA.names})),
    ],
)
def test_a_problem_file_that_is_wrong_says_nothing(data: bytes, tmp_path: Path) -> None:
    """The others are believed, and new ones can be put."""
    on = pack_set(tmp_path)
    on.put_problems([PROBLEM])
    (path,) = (tmp_path / "packs").rglob(f"*{PROBLEMS}")
    bad = replaced(path, data, PROBLEMS)
    on = pack_set(tmp_path)
    assert on.problems == {}
    assert list(on.set_aside) == [bad.name]
    on.put_problems([PROBLEM])
    assert pack_set(tmp_path).problems == {digest(1): ("BadInput", "no")}


@pytest.mark.parametrize("data", [b"no pack", table_bytes(table([1]).drop_columns(["y"]), PROVENANCE)])
def test_a_pack_that_an_index_names_and_that_is_none(data: bytes, index: Path, tmp_path: Path) -> None:
    """An index saves the look into packs, so they are looked at when they are read."""
    victim = packs(tmp_path)[0]
    gone = read_parquet(victim)["y"].to_pylist()
    bad = replaced(victim, data, PACK)
    told = json.loads(read_parquet(index.read_bytes()).schema.metadata[b"mer.packs"])
    replaced(index, names(index.read_bytes(), [bad.name if name == victim.name else name for name in told]), INDEX)
    on = pack_set(tmp_path)
    assert read(on, list(NUMBERS)) is None
    assert bad.name in on.set_aside
    others = [number for number in NUMBERS if number not in gone]
    assert read(on, others) == others


def test_a_store_that_cannot_be_written_sets_aside_in_mind(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is passed over, and the rows are right."""
    replaced(index, DAMAGES["the packs of others"](index.read_bytes()), INDEX)
    on = pack_set(tmp_path)

    def refuse(name: str, to: str) -> None:
        from mer_pipeline.base.errors import ReadOnlyStore

        raise ReadOnlyStore("no")

    monkeypatch.setattr(on.root, "move", refuse)
    assert read(on, list(NUMBERS)) is None
    assert read(on, list(NUMBERS)) == list(NUMBERS)
