"""Comparison by value: of arrays, of rows, of tables in any number of shards."""

import io
from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mer_pipeline.cli.diff import Part
from mer_pipeline.tables.cells import compare_values
from mer_pipeline.tables.compare import CHUNK, EXAMPLES, TableDiff, compare_tables, short
from mer_pipeline.tables.parts import ParquetSide
from mer_pipeline.tables.rows import complete_row, stage_schema, to_table

VALUES = pa.schema(
    [
        ("vector", pa.list_(pa.float32(), 3)),
        ("times", pa.list_(pa.float64())),
        ("crops", pa.list_(pa.binary())),
        ("boxes", pa.list_(pa.struct([("frame", pa.int32()), ("box", pa.list_(pa.float32(), 2))]))),
        ("text", pa.string()),
        ("width", pa.int32()),
    ]
)
SCHEMA = stage_schema(VALUES)
NAN, INF = np.nan, np.inf
LIST, PAIR = pa.list_(pa.float32()), pa.list_(pa.float32(), 2)
STRUCT = pa.struct([("x", pa.int8()), ("y", LIST)])


def row(clip: str, seed: int = 0, **changed: object) -> dict[str, object]:
    """A complete row of all kinds of columns; every fifth is a skipped clip."""
    rng = np.random.default_rng([seed, *clip.encode()])
    n = int(rng.integers(0, 4))
    values = {
        "vector": rng.normal(size=3).astype(np.float32),
        "times": rng.normal(size=n).tolist(),
        "crops": [rng.bytes(5) for _ in range(n)],
        "boxes": [{"frame": at, "box": rng.normal(size=2).astype(np.float32).tolist()} for at in range(n)],
        "text": clip * n,
        "width": n,
    }
    skipped = sum(clip.encode()) % 5 == 0 and not changed
    digest = f"input-{clip}"
    made = complete_row(clip, digest, None if skipped else values | changed, "no face" if skipped else None, VALUES)
    return dict(made)


def side(*tables: pa.Table, group: int = 2) -> ParquetSide:
    """Tables as files, with small row groups."""
    parts = []
    for at, table in enumerate(tables):
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=group)
        data = sink.getvalue()
        parts.append(Part(f"part-{at:05d}.parquet", lambda data=data: io.BytesIO(data)))  # type: ignore[misc]
    return ParquetSide(parts)


def spread(rows: Sequence[dict[str, object]], shards: int, schema: pa.Schema = SCHEMA) -> ParquetSide:
    """Rows dealt to shards as they come."""
    return side(*(to_table(rows[at::shards], schema) for at in range(shards)))


def counts(diff: TableDiff) -> tuple[int, ...]:
    return diff.only_a, diff.only_b, diff.equal, diff.within, diff.beyond, diff.digest_only


class TestValues:
    """Arrays of one column."""

    @pytest.mark.parametrize(
        ("kind", "a", "b", "exact", "absolute"),
        [
            (pa.float32(), [1.0, NAN, None, INF], [1.0, NAN, None, INF], [1, 1, 1, 1], [0, 0, NAN, 0]),
            (pa.float64(), [1.0, NAN, None, INF], [1.5, 0.0, 0.0, 1.0], [0, 0, 0, 0], [0.5, NAN, NAN, INF]),
            (pa.float64(), [0.0], [-0.0], [1], [0]),
            (pa.float16(), np.array([1, 2], np.float16), np.array([1, 2.5], np.float16), [1, 0], [0, 0.5]),
            (pa.int64(), [1, 2], [1, 5], [1, 0], [0, 3]),
            (pa.int64(), [2**60], [2**60 + 1], [0], [0]),  # as floats they would be equal
            (pa.bool_(), [True], [False], [0], [NAN]),
            (pa.string(), ["a", "b", None], ["a", "c", ""], [1, 0, 0], [NAN] * 3),
            (pa.binary(), [b"a", b"b"], [b"a", b"b\0"], [1, 0], [NAN] * 2),
            (LIST, [[], [1.0], None, [1.0]], [[], [1.0, 2.0], [], [3.0]], [1, 0, 0, 0], [NAN, NAN, NAN, 2]),
            (PAIR, [[1.0, 2.0], None, [1.0, 2.0]], [[1.0, 2.0], None, [1.0, 6.0]], [1, 1, 0], [0, NAN, 4]),
            (pa.list_(LIST), [[[1.0], []], [[1.0]]], [[[1.0], []], [[7.0]]], [1, 0], [0, 6]),
            (pa.list_(LIST), [[[1.0], None], [[1.0]]], [[[1.0], []], [[1.0]]], [0, 1], [0, 0]),
            (STRUCT, [{"x": 1, "y": [1.0]}, None], [{"x": 1, "y": [3.0]}, None], [0, 1], [2, NAN]),
            (pa.list_(pa.binary()), [[b"x", b"y"]], [[b"x", b"z"]], [0], [NAN]),
            (PAIR, [], [], [], []),
        ],
    )
    def test_kinds(
        self, kind: pa.DataType, a: list[object], b: list[object], exact: list[int], absolute: list[float]
    ) -> None:
        """Equal or not, and by how much, whatever the type."""
        cells = compare_values(pa.array(a, kind), pa.array(b, kind), 0.0)
        assert cells.exact.tolist() == [bool(flag) for flag in exact]
        assert cells.close.tolist() == cells.exact.tolist()
        np.testing.assert_array_equal(cells.absolute, np.array(absolute, float))

    def test_tolerance_is_for_floats_alone(self) -> None:
        """A width of 7 is not nearly 8."""
        assert compare_values(pa.array([7.0]), pa.array([8.0]), 1.0).close.all()
        assert not compare_values(pa.array([7]), pa.array([8]), 1.0).close.any()
        assert not compare_values(pa.array([np.inf]), pa.array([1.0]), 1.0).close.any()
        assert not compare_values(pa.array([None], pa.float64()), pa.array([0.0]), 1.0).close.any()

    @pytest.mark.parametrize(
        "kinds", [(pa.float16(), pa.float32()), (pa.int8(), pa.float64()), (pa.uint64(), pa.int64())]
    )
    def test_types_are_no_values(self, kinds: tuple[pa.DataType, pa.DataType]) -> None:
        """Numbers are equal in any type; a list's being of fixed length does not show."""
        a, b = (pa.array(np.array([1, 2], kind.to_pandas_dtype()), kind) for kind in kinds)
        assert compare_values(a, b, 0.0).exact.all()
        assert compare_values(pa.array([[1.0]], pa.list_(pa.float32(), 1)), pa.array([[1.0]]), 0.0).exact.all()
        assert compare_values(pa.array(["a"]), pa.array(["a"], pa.large_string()), 0.0).exact.all()
        assert compare_values(pa.array(["a"]).dictionary_encode(), pa.array(["a"]), 0.0).exact.all()
        assert not compare_values(pa.array(["1"]), pa.array([1]), 0.0).exact.any()

    @given(
        pairs=st.integers(0, 20).flatmap(lambda n: st.tuples(*[hnp.arrays(np.float64, n)] * 2)),
        tolerance=st.sampled_from([0.0, 1e-6, 0.1]),
    )
    def test_like_numpy(self, pairs: tuple[np.ndarray, np.ndarray], tolerance: float) -> None:
        """`numpy.isclose` with both tolerances, NaN equal to NaN."""
        cells = compare_values(*(pa.array(array, from_pandas=False) for array in pairs), tolerance)
        with np.errstate(all="ignore"):
            expected = np.isclose(*pairs, rtol=tolerance, atol=tolerance, equal_nan=True)
        assert cells.close.tolist() == expected.tolist()


clips = st.lists(st.text("abcXYZ明", min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


class TestShards:
    """A table is its rows, however they are spread."""

    @settings(max_examples=40)
    @given(
        names=clips, shards=st.tuples(*[st.integers(1, 5)] * 2), data=st.data(), tolerance=st.sampled_from([0.0, 0.1])
    )
    def test_a_table_equals_itself(
        self, names: list[str], shards: tuple[int, int], data: st.DataObject, tolerance: float
    ) -> None:
        """In any number of shards and any order."""
        rows = [row(name) for name in names]
        other = data.draw(st.permutations(rows))
        diff = compare_tables("t", spread(rows, shards[0]), spread(other, shards[1]), tolerance)
        assert counts(diff) == (0, 0, len(rows), 0, 0, 0)
        assert not diff.differs

    @settings(max_examples=40)
    @given(
        names=clips,
        shards=st.tuples(*[st.integers(1, 5)] * 2),
        data=st.data(),
        change=st.sampled_from(
            [("vector", np.array([9, 9, 9], np.float32)), ("times", [1.0] * 9), ("text", "?"), ("width", 99)]
        ),
    )
    def test_one_change_is_found_and_named(
        self, names: list[str], shards: tuple[int, int], data: st.DataObject, change: tuple[str, object]
    ) -> None:
        """Its clip, its column, and no other."""
        clip = data.draw(st.sampled_from(names))
        rows = [row(name) if name != clip else row(name, width=5) for name in names]
        other = [r if r["clip_id"] != clip else row(clip, **{"width": 5, change[0]: change[1]}) for r in rows]
        diff = compare_tables("t", spread(rows, shards[0]), spread(data.draw(st.permutations(other)), shards[1]))
        assert counts(diff) == (0, 0, len(rows) - 1, 0, 1, 0)
        assert [(e.row, e.column) for e in diff.examples] == [(clip, change[0])]
        assert diff.columns.keys() == {change[0]}

    def test_only_rows_that_differ_are_read(self) -> None:
        """And never more than a chunk of them at once."""
        taken: list[int] = []

        class Watched(ParquetSide):
            def take(self, parts: pl.Series, rows: pl.Series, columns: list[str]) -> pa.Table:
                taken.append(len(rows))
                return super().take(parts, rows, columns)

        n = CHUNK + 40
        schema = stage_schema(pa.schema([("vector", pa.list_(pa.float32(), 1))]))
        kind = pa.schema([("vector", pa.list_(pa.float32(), 1))])

        def table(far: int) -> pa.Table:
            made = [
                complete_row(f"{at:04d}", "i", {"vector": np.array([at + (at < far)], np.float32)}, None, kind)
                for at in range(n)
            ]
            return to_table(made, schema)

        for far, expected in ((0, []), (3, [3, 3]), (n, [CHUNK, CHUNK, 40, 40])):
            taken.clear()
            a, b = (Watched(side(table(changed), group=100).parts) for changed in (0, far))
            diff = compare_tables("t", a, b)
            assert counts(diff) == (0, 0, n - far, 0, far, 0)
            assert taken == expected
        assert len(diff.examples) == EXAMPLES
        assert (diff.columns["vector"].rows, diff.columns["vector"].absolute) == (n, 1.0)

    def test_the_largest_differences_are_the_examples(self) -> None:
        """What a person should look at first."""
        a = [row(f"c{at}", vector=np.zeros(3, np.float32)) for at in range(9)]
        b = [row(f"c{at}", vector=np.array([0, at, -1], np.float32)) for at in range(9)]
        diff = compare_tables("t", spread(a, 2), spread(b, 3), 0.5)
        assert [(e.row, e.absolute) for e in diff.examples] == [(f"c{at}", float(at)) for at in (8, 7, 6, 5, 4)]
        assert diff.examples[0].relative == 1.0


class TestRows:
    """Which rows belong together, and what counts."""

    def test_tolerance_and_digests(self) -> None:
        """With a tolerance, rows within it are not different; digests, which always are then, do not count."""
        a, b = ([row("a", vector=np.full(3, value, np.float32))] for value in (1.0, 1.001))
        assert counts(compare_tables("t", spread(a, 1), spread(b, 1))) == (0, 0, 0, 0, 1, 0)
        within = compare_tables("t", spread(a, 1), spread(b, 1), 0.01)
        assert counts(within) == (0, 0, 0, 1, 0, 0)
        assert not within.differs

    @pytest.mark.parametrize("column", ["digest", "input_digest"])
    def test_a_digest_by_itself(self, column: str) -> None:
        """Is said to be that; not looked at with a tolerance."""
        a = [row("a"), row("b")]
        b = [a[0] | {column: "x"}, a[1]]
        diff = compare_tables("t", spread(a, 1), spread(b, 1))
        assert counts(diff) == (0, 0, 1, 0, 0, 1)
        assert diff.differs
        assert [(e.row, e.column) for e in diff.examples] == [("a", column)]
        assert not compare_tables("t", spread(a, 1), spread(b, 1), 1e-9).differs

    def test_rows_and_tables_on_one_side(self) -> None:
        """Counted, and some named."""
        a, b = ([row(name) for name in names] for names in ("abc", "cde"))
        diff = compare_tables("t", spread(a, 2), spread(b, 1))
        assert counts(diff) == (2, 2, 1, 0, 0, 0)
        assert set(diff.missing) == {"a only in A", "b only in A", "d only in B", "e only in B"}
        gone = compare_tables("t", spread(a, 2), ParquetSide([]))
        assert (gone.rows_a, gone.rows_b, gone.only_a, gone.differs) == (3, 0, 3, True)
        assert (gone.columns_a, gone.columns_b) == ([], [])
        assert compare_tables("t", ParquetSide([]), spread(a, 2)).only_b == 3

    def test_an_empty_table_equals_an_empty_one(self) -> None:
        """A stage without problems writes one."""
        assert not compare_tables("t", spread([], 1), spread([], 3)).differs

    @pytest.mark.parametrize(
        ("keys", "named"),
        [
            ({"clip_id": ["a", "a", "b"], "source": ["x", "y", "x"]}, "a, source=y"),
            ({"clip_id": ["a", "a", "b"], "held_out_fold": pa.array([-1, 0, 0], pa.int32())}, "a, held_out_fold=0"),
            ({"clip_id": ["a"] * 3, "head": ["h", "h", "k"], "fold": [0, 1, 0]}, "a, head=h, fold=1"),
            ({"clip_id": ["a", "a", None]}, "a, number 2"),
            ({"other": ["r", "s", "t"]}, "number 2"),
        ],
    )
    def test_the_natural_key(self, keys: dict[str, list[object]], named: str) -> None:
        """Rows of long tables are told apart by source, fold or head; else by their order when sorted."""
        a, b = (pa.table(keys | {"order": [1, 2, 3], "weights": [[0.5], w, [0.5]]}) for w in ([0.5], [0.75]))
        assert not compare_tables("t", side(a), side(a.slice(2), a.slice(0, 2))).differs
        diff = compare_tables("t", side(a), side(b.take([2, 1, 0])))
        assert counts(diff) == (0, 0, 2, 0, 1, 0)
        assert [(e.row, e.column, e.absolute) for e in diff.examples] == [(named, "weights", 0.25)]

    def test_key_types_do_not_matter(self) -> None:
        """int32 or int64, string or large_string."""
        a, b = (
            pa.table({"clip_id": pa.array(["a", "a"], text), "fold": pa.array([0, 1], number)})
            for text, number in ((pa.string(), pa.int32()), (pa.large_string(), pa.int64()))
        )
        diff = compare_tables("t", side(a), side(b))
        assert (diff.equal, diff.differs) == (2, False)
        assert diff.notes == ["clip_id is string in A and large_string in B", "fold is int32 in A and int64 in B"]

    def test_columns_on_one_side(self) -> None:
        """Another column is a difference, however equal the rest is; with a tolerance a digest is none."""
        a = pa.table({"clip_id": ["a"], "x": [1.0]})
        b = a.append_column("y", pa.array([1]))
        diff = compare_tables("t", side(a), side(b))
        assert (diff.columns_a, diff.columns_b, diff.equal, diff.differs) == ([], ["y"], 1, True)
        b = a.append_column("digest", pa.array(["d"]))
        assert compare_tables("t", side(a), side(b)).differs
        assert not compare_tables("t", side(a), side(b), 0.1).differs

    def test_rows_of_a_store(self) -> None:
        """Known by their input alone: under any clip's name, once, and no matter what else a store has."""
        a = [row("a"), row("b"), row("b"), row("c", width=5)]
        b = [row("a") | {"clip_id": "renamed"}, row("d"), row("c", width=6)]
        diff = compare_tables("t", spread(a, 2), spread(b, 1), key="input_digest")
        assert (diff.rows_a, diff.rows_b) == (3, 3)
        assert counts(diff) == (1, 1, 1, 0, 1, 0)
        assert [(e.row, e.column, e.a, e.b) for e in diff.examples] == [("c (input input-c)", "width", "5", "6")]
        alike = compare_tables("t", spread(a[:3], 2), spread(b[:2], 1), key="input_digest")
        assert (alike.only_a, alike.only_b, alike.differs) == (1, 1, False)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (pa.scalar(None, pa.string()), "None"),
        (pa.scalar("x" * 38), repr("x" * 38)),  # 40 with its quotes
        (pa.scalar("x" * 39), "'" + "x" * 38 + "…"),
        (pa.scalar(b"abc"), "3 bytes"),
        (pa.scalar([1, 2]), "2 values"),
        (pa.scalar({"a": 1}), ""),
    ],
)
def test_a_value_is_told_in_a_few_characters(value: pa.Scalar, told: str) -> None:
    """Forty at most."""
    assert short(value) == told
