"""Facts about the row cache: what is missing, what is kept and when, and what a shard is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip, StoreError
from mer_pipeline.base.outcome import Failure, Outcome
from mer_pipeline.base.transform import Transform
from mer_pipeline.config.section import Section
from mer_pipeline.store.inputs import Keys
from mer_pipeline.store.row_cache import RowCache
from mer_pipeline.store.store import Store
from mer_pipeline.tables.rows import complete_row, digest

FLUSH_S = 30.0


class Number(Transform[int]):
    """Its rows are made by hand here."""

    name = "number"
    sources = ()
    schema = pa.schema([pa.field("y", pa.int64()), pa.field("words", pa.list_(pa.string()))])
    params = Section()

    def prepare(self, clip: Clip) -> int:
        raise NotImplementedError

    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        raise NotImplementedError


class Clock:
    """Seconds, set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def cache(tmp_path: Path | None, clock: Clock | None = None) -> RowCache:
    store = None if tmp_path is None else Store(str(tmp_path / "store"))
    return RowCache(store, Number(), "any", 1, FLUSH_S, clock or Clock())


def keys(numbers: Sequence[int]) -> Keys:
    return Keys(0, [f"c{n}" for n in numbers], [digest(n) for n in numbers])


def row(n: int) -> Outcome:
    return Outcome(
        f"c{n}", digest(n), complete_row(f"c{n}", digest(n), {"y": n, "words": ["w"] * n}, None, Number.schema)
    )


def broken(n: int, lasts: bool) -> Outcome:
    return Outcome(f"c{n}", digest(n), failed=Failure("BadInput" if lasts else "Transient", f"no {n}", lasts=lasts))


def kept(tmp_path: Path) -> list[int]:
    paths = [path for path in (tmp_path / "store/packs").rglob("*.parquet") if "problems" not in path.name]
    return sorted(n for path in paths for n in pq.read_table(path)["y"].to_pylist())


@pytest.mark.parametrize("has_store", [True, False])
def test_missing_add_table(tmp_path: Path, has_store: bool) -> None:
    """What is added is missing no more, whether it waits or is in a pack, and comes back in the order asked for."""
    on, all_of = cache(tmp_path if has_store else None), keys([1, 2, 3])
    assert on.missing(all_of) == ["c1", "c2", "c3"]
    on.add([row(3), row(1)])
    assert on.missing(all_of) == ["c2"]
    on.add([row(2)])
    table = on.table(keys([3, 1, 2]))
    assert table is not None
    assert table["y"].to_pylist() == [3, 1, 2]
    assert on.missing(all_of) == []


def test_rows_wait_no_longer_than_they_may(tmp_path: Path) -> None:
    """They go into a pack a little before flush_s is over, counted from the oldest, and not before; a call without an
    outcome is enough."""
    clock = Clock()
    on = cache(tmp_path, clock)
    on.add([row(1)])
    clock.now += 0.7 * FLUSH_S
    on.add([row(2)])
    assert kept(tmp_path) == []
    clock.now += 0.29 * FLUSH_S
    on.add([])
    assert kept(tmp_path) == [1, 2]
    on.add([row(3)])
    clock.now += 0.7 * FLUSH_S
    on.add([])
    assert kept(tmp_path) == [1, 2], "the time of a new row is its own"
    clock.now += 0.29 * FLUSH_S
    on.add([])
    assert kept(tmp_path) == [1, 2, 3]


@pytest.mark.outcome("a failure that may pass (a disk, a server)", "never remembered by the store")
def test_failures_are_kept_apart(tmp_path: Path) -> None:
    """What lasts is remembered, what may pass is not; neither is missing in this run, and no shard has it."""
    on, all_of = cache(tmp_path), keys([1, 2, 3])
    on.add([row(1), broken(2, lasts=True), broken(3, lasts=False)])
    assert on.missing(all_of) == []
    assert {name: problem["message"] for name, problem in on.failures(all_of).items()} == {"c2": "no 2", "c3": "no 3"}
    assert on.write(all_of, tmp_path / "shard.parquet")
    assert pq.read_table(tmp_path / "shard.parquet")["y"].to_pylist() == [1]
    on.flush()
    assert cache(tmp_path).missing(all_of) == ["c3"]


@pytest.mark.parametrize("numbers", [[], [1], [1, 2, 3, 4]])
def test_a_shard_is_the_same_however_its_rows_came(tmp_path: Path, numbers: list[int]) -> None:
    """All at once, one pack each, known before, without a store: the same bytes."""
    all_of, shards = keys(numbers), []
    for at, name in enumerate(("whole", "parts", "known", None)):
        on = cache(None if name is None else tmp_path / name.replace("known", "parts"))
        for n in numbers if name != "known" else ():
            on.add([row(n)])
            if name == "parts":
                on.flush()
        path = tmp_path / f"{at}.parquet"
        assert on.write(all_of, path)
        shards.append(path.read_bytes())
    assert len(set(shards)) == 1


def test_what_a_worker_keeps_is_seen(tmp_path: Path) -> None:
    """Rows and failures that another process has put into the store, once it says so."""
    on, worker, all_of = cache(tmp_path), cache(tmp_path), keys([1, 2])
    assert on.missing(all_of) == ["c1", "c2"]
    worker.add([row(1), broken(2, lasts=True)])
    worker.flush()
    on.add([Outcome(f"c{n}", digest(n), kept=True) for n in (1, 2)])
    assert on.missing(all_of) == []
    assert list(on.failures(all_of)) == ["c2"]
    assert on.write(all_of, tmp_path / "shard.parquet")


def test_what_a_worker_keeps_elsewhere_is_computed_again_once(tmp_path: Path) -> None:
    """It is missing still; when that happens twice the stores are not the same, and the error says so."""
    on = cache(tmp_path)
    outcome = Outcome("c1", digest(1), kept=True)
    on.add([outcome])
    assert on.missing(keys([1])) == ["c1"]
    with pytest.raises(StoreError, match="MER_STORE"):
        on.add([outcome])


def test_a_pack_that_was_lost_may_be_put_again_by_a_worker(tmp_path: Path) -> None:
    """Under the same name, because it has the same content."""
    on, all_of = cache(tmp_path), keys([1, 2])
    on.add([row(1), row(2)])
    on.flush()
    (victim,) = (tmp_path / "store/packs").rglob("*.parquet")
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + b"!")
    assert on.table(all_of) is None
    assert on.missing(all_of) == ["c1", "c2"]
    victim.write_bytes(whole)
    on.add([Outcome(f"c{n}", digest(n), kept=True) for n in (1, 2)])
    assert on.missing(all_of) == []
    assert on.table(all_of) is not None
