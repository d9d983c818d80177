"""Facts about the store's packs: what is put is found, and what cannot be trusted is not."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_pipeline.store.fingerprint import Fingerprint
from mer_pipeline.store.forget import forget
from mer_pipeline.store.packs import INDEX, PACK, PROBLEMS, PackSet
from mer_pipeline.store.store import Store
from mer_pipeline.tables.rows import complete_row, digest, stage_schema, to_table
from mer_pipeline.tables.shards import table_bytes

SCHEMA = stage_schema(pa.schema([pa.field("y", pa.int64())]))
PRINT = Fingerprint({"params.a": "1"})
PROVENANCE = PRINT.provenance()


def table(numbers: Sequence[int]) -> pa.Table:
    rows = [complete_row(f"c{n}", digest(n), {"y": n}, None, pa.schema([pa.field("y", pa.int64())])) for n in numbers]
    return to_table(rows, SCHEMA)


def pack_set(root: Path, fingerprint: Fingerprint = PRINT) -> PackSet:
    return Store(str(root)).pack_set("t", fingerprint, SCHEMA)


def read(on: PackSet, numbers: Sequence[int]) -> list[int] | None:
    found = on.read(on.find([digest(n) for n in numbers]))
    return None if found is None else found["y"].to_pylist()


def packs(root: Path) -> list[Path]:
    return sorted(p for p in (root / "packs").rglob(f"*{PACK}") if not p.name.endswith(PROBLEMS))


def test_what_is_put_is_found_by_another_process(tmp_path: Path) -> None:
    """Rows come back in the order asked for; what was never put is nowhere; their digests need no reading."""
    pack_set(tmp_path).put(table([3, 1, 2]), PROVENANCE)
    other = pack_set(tmp_path)
    assert other.find([digest(1), digest(9), digest(3)]).tolist().count(-1) == 1
    assert read(other, [1, 2, 3, 1]) == [1, 2, 3, 1]
    assert other.digests(other.find([digest(2)])) == table([2])["digest"].to_pylist()
    assert len(other) == 3


def test_the_name_of_a_pack_is_its_content(tmp_path: Path) -> None:
    """The same rows put twice are one file."""
    for _ in range(2):
        pack_set(tmp_path).put(table([1, 2]), PROVENANCE)
    (only,) = packs(tmp_path)
    assert only.name == hashlib.sha256(only.read_bytes()).hexdigest() + PACK


def test_another_fingerprint_knows_nothing(tmp_path: Path) -> None:
    """Rows of other params are not found."""
    pack_set(tmp_path).put(table([1]), PROVENANCE)
    assert len(pack_set(tmp_path, Fingerprint({"params.a": "2"}))) == 0


def torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


def altered(data: bytes) -> bytes:
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


def foreign(data: bytes) -> bytes:
    return table_bytes(table([1, 2]), Fingerprint({"params.a": "other"}).provenance())


def older(data: bytes) -> bytes:
    return table_bytes(table([1, 2]).drop_columns(["reason"]), PROVENANCE)


@pytest.mark.outcome("a pack is torn, altered, foreign or of an older form", "set aside")
@pytest.mark.parametrize("harm", [torn, altered, foreign, older, lambda data: b""])
def test_a_pack_that_cannot_be_trusted_is_set_aside(tmp_path: Path, harm: object) -> None:
    """Torn, altered, of another fingerprint, of an older form, empty: its rows are unknown, the others stay, and the
    file is kept where someone can look at it."""
    pack_set(tmp_path).put(table([1, 2]), PROVENANCE)
    (victim,) = packs(tmp_path)
    pack_set(tmp_path).put(table([3]), PROVENANCE)
    victim.write_bytes(harm(victim.read_bytes()))  # type: ignore[operator]
    on = pack_set(tmp_path)
    if (on.find([digest(1)]) >= 0).all():
        assert read(on, [1]) is None, "noticed at the latest when it is read"
    assert on.find([digest(1), digest(2)]).tolist() == [-1, -1]
    assert read(on, [3]) == [3]
    assert list(on.set_aside) == [victim.name]
    assert (tmp_path / "aside/t" / PRINT.id / victim.name).exists()
    assert not victim.exists()


def test_a_pack_under_anothers_name_is_replaced_by_the_right_one(tmp_path: Path) -> None:
    """A copy of one pack over another is noticed, and the rows that belong there can be put again."""
    for numbers in ([1], [2]):
        pack_set(tmp_path).put(table(numbers), PROVENANCE)
    first, second = packs(tmp_path)
    first.write_bytes(second.read_bytes())
    on = pack_set(tmp_path)
    for number in (1, 2):
        on.put(table([number]), PROVENANCE)
    assert read(on, [1, 2]) == [1, 2]


@pytest.mark.outcome(
    "an index or a problem file is torn or altered, is none, or does not fit the packs, also where its hash is right",
    "set aside",
)
def test_an_index_makes_no_difference(tmp_path: Path) -> None:
    """After many packs an index is written; with it, without it and with a torn one the same rows are known."""
    on = pack_set(tmp_path)
    for n in range(20):
        on.put(table([n, 100]), PROVENANCE)
    on.write_index()
    (index,) = (tmp_path / "packs").rglob(f"*{INDEX}")
    assert read(pack_set(tmp_path), range(20)) == list(range(20))
    victim = packs(tmp_path)[0]
    (gone,) = [n for n in pq.read_table(victim)["y"].to_pylist() if n != 100]
    victim.unlink()
    assert pack_set(tmp_path).find([digest(gone), digest(100)]).tolist().count(-1) == 1, "it names a pack that is gone"
    index.write_bytes(torn(index.read_bytes()))
    on = pack_set(tmp_path)
    assert read(on, [n for n in range(20) if n != gone]) == [n for n in range(20) if n != gone]
    assert list(on.set_aside) == [index.name]


def test_a_second_index_takes_the_first_ones_place(tmp_path: Path) -> None:
    """Also in the process that wrote both: one file is left, and it has all rows."""
    on = pack_set(tmp_path)
    for start in (0, 20):
        for n in range(start, start + 20):
            on.put(table([n]), PROVENANCE)
        on.write_index()
    assert len([*(tmp_path / "packs").rglob(f"*{INDEX}")]) == 1
    assert read(pack_set(tmp_path), range(40)) == list(range(40))


def test_two_writers_see_each_others_rows(tmp_path: Path) -> None:
    """No locks: each looks again."""
    one, two = pack_set(tmp_path), pack_set(tmp_path)
    one.put(table([1]), PROVENANCE)
    two.put(table([2]), PROVENANCE)
    one.refresh()
    assert read(one, [1, 2]) == [1, 2]


def test_a_larger_pack_takes_the_place_of_smaller_ones(tmp_path: Path) -> None:
    """Nothing is lost, and a reader who still has the old listing looks again."""
    on, reader = pack_set(tmp_path), pack_set(tmp_path)
    for n in (1, 2):
        on.put(table([n]), PROVENANCE)
    reader.refresh()
    whole = table([1, 2])
    old = [p.name for p in packs(tmp_path)]
    on.supersede(on.put_bytes(table_bytes(whole, PROVENANCE), whole), old)
    assert len(packs(tmp_path)) == 1
    assert read(on, [1, 2]) == [1, 2]
    assert read(reader, [1, 2]) is None
    assert read(reader, [2, 1]) == [2, 1]


def test_problems_are_remembered_until_they_are_forgotten(tmp_path: Path) -> None:
    """By what they were made from; forgetting one keeps the others."""
    problems = [{"input_digest": digest(n), "error": "BadInput", "message": f"no {n}"} for n in (1, 2)]
    pack_set(tmp_path).put_problems(problems)
    assert pack_set(tmp_path).problems[digest(2)] == ("BadInput", "no 2")
    assert pack_set(tmp_path).forget_problems([digest(2), digest(9)]) == 1
    assert list(pack_set(tmp_path).problems) == [digest(1)]


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=12), st.lists(st.integers(0, 35), max_size=20))
def test_rows_are_found_however_they_are_packed(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[int]], asked: list[int]
) -> None:
    """Any rows in any packs, some in several: exactly the rows that are there are found, and each is its own."""
    root = tmp_path_factory.mktemp("store")
    on = pack_set(root)
    for group in groups:
        on.put(table(group), PROVENANCE)
    on.write_index()
    there = {n for group in groups for n in group}
    for view in (on, pack_set(root)):
        places = view.find([digest(n) for n in asked])
        assert np.array_equal(places >= 0, [n in there for n in asked])
        assert read(view, [n for n in asked if n in there]) == [n for n in asked if n in there]


# --- forgetting


def test_forgotten_rows_are_gone_and_the_others_stay(tmp_path: Path) -> None:
    """From every pack that has them, for this process and the next; with and without an index."""
    on = pack_set(tmp_path)
    for numbers in ([1, 2, 3], [3, 4], [5], *([n] for n in range(10, 20))):
        on.put(table(numbers), PROVENANCE)
    on.write_index()
    assert forget(on, [digest(3), digest(5), digest(99)]) == 2
    for now in (on, pack_set(tmp_path)):
        assert read(now, [1, 2, 4, 10, 19]) == [1, 2, 4, 10, 19]
        assert (now.find([digest(3), digest(5)]) == -1).all()
    assert forget(on, [digest(3)]) == 0
    on.put(table([3]), PROVENANCE)
    assert read(pack_set(tmp_path), [3]) == [3]


def test_forgetting_everything(tmp_path: Path) -> None:
    """Rows, what was found broken, and indexes; another fingerprint keeps its own."""
    other = Fingerprint({"params.a": "2"})
    pack_set(tmp_path, other).put(table([1]), other.provenance())
    on = pack_set(tmp_path)
    for n in range(10):
        on.put(table([n]), PROVENANCE)
    on.write_index()
    on.put_problems([{"input_digest": digest(50), "error": "BadInput", "message": "x"}])
    assert forget(on) == 10
    assert (len(on), on.problems) == (0, {})
    assert len(pack_set(tmp_path)) == 0
    assert not pack_set(tmp_path).problems
    assert len(pack_set(tmp_path, other)) == 1


def test_forgetting_a_broken_clip(tmp_path: Path) -> None:
    """It is tried again."""
    on = pack_set(tmp_path)
    on.put_problems([{"input_digest": digest(n), "error": "BadInput", "message": "x"} for n in (1, 2)])
    assert forget(on, [digest(1)]) == 0
    assert pack_set(tmp_path).problems.keys() == {digest(2)}


def test_a_reader_that_was_there_before_finds_the_others(tmp_path: Path) -> None:
    """It knew the pack that is gone; it looks again, and what another process wrote meanwhile is untouched."""
    pack_set(tmp_path).put(table([1, 2, 3]), PROVENANCE)
    reader, writer = pack_set(tmp_path), pack_set(tmp_path)
    places = reader.find([digest(1)])
    writer.put(table([7]), PROVENANCE)
    forget(pack_set(tmp_path), [digest(2)])
    assert reader.read(places) is None
    assert read(reader, [1, 3, 7]) == [1, 3, 7]
    assert (reader.find([digest(2)]) == -1).all()


def test_rows_of_a_pack_have_the_form_in_which_they_were_put(tmp_path: Path) -> None:
    """Also where a row is a list, of whose items Parquet has a name of its own: what is put together from packs, and
    what is left of a pack, is byte for byte what those rows would be by themselves."""
    values = pa.schema([pa.field("y", pa.list_(pa.float32(), 2)), pa.field("z", pa.list_(pa.binary()))])
    schema = stage_schema(values)

    def lists(numbers: Sequence[int]) -> pa.Table:
        made = [{"y": np.array([n, 0], np.float32), "z": [b"%d" % n] * n} for n in numbers]
        rows = [complete_row(f"c{n}", digest(n), row, None, values) for n, row in zip(numbers, made, strict=True)]
        return to_table(rows, schema)

    on = Store(str(tmp_path)).pack_set("t", PRINT, schema)
    on.put(lists([1, 2]), PROVENANCE)
    on.put(lists([3]), PROVENANCE)
    found = on.read(on.find([digest(n) for n in (1, 2, 3)]))
    assert found is not None
    assert table_bytes(found, PROVENANCE) == table_bytes(lists([1, 2, 3]), PROVENANCE)
    forget(on, [digest(1)])
    alone = hashlib.sha256(table_bytes(lists([2]), PROVENANCE)).hexdigest() + PACK
    assert alone in [path.name for path in packs(tmp_path)]
