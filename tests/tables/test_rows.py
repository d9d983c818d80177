import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mer_pipeline.tables.rows import Encoded, complete_row, digest, digest_columns, encode, stage_schema, to_table

SIMPLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@given(VALUES)
def test_digest_is_a_function_of_the_value(value: object) -> None:
    """Equal values have equal digests, in any order of a mapping's keys."""
    again = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert digest(value) == digest(again)


@given(SIMPLE, SIMPLE)
def test_different_values_have_different_digests(a: object, b: object) -> None:
    """Types count: 1, 1.0, True and "1" are four values."""
    same = type(a) is type(b) and repr(a) == repr(b)
    assert (digest(a) == digest(b)) == same


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_lists_do_not_run_together(a: list[str], b: list[str]) -> None:
    """["ab"] and ["a", "b"] differ."""
    assert (digest(a) == digest(b)) == (a == b)


T, B = encode("").decode(), encode(b"")  # what stands before a text and before bytes

# Pairs whose parts, one after another, would be the same bytes if what is named had no length before it.
RUN_TOGETHER: dict[str, tuple[object, object]] = {
    "text": (["a", f"b{T}c"], [f"a{T}b", "c"]),
    "text in a mapping": ({"a": f"b{T}c{T}d"}, {f"a{T}b": f"c{T}d"}),
    "text in a row": ({"x": "a", "y": f"b{T}z{T}c"}, {"x": f"a{T}y{T}b", "z": "c"}),
    "bytes": ([b"a", b"b" + B + b"c"], [b"a" + B + b"b", b"c"]),
    "list": ([["a"], "b", ["c"]], [["a", "b"], [], "c"]),
    "mapping": ([{"a": "x"}, "b", "y", {"p": "q"}], [{"a": "x", "b": "y"}, {}, "p", "q"]),
    "whole number": ([1, 23], [12, 3]),
    "array and bytes": ([np.zeros(1, np.int8), b"\0"], [np.zeros(2, np.int8), b""]),
}


@pytest.mark.parametrize("pair", RUN_TOGETHER.values(), ids=RUN_TOGETHER)
def test_parts_do_not_run_together(pair: tuple[object, object]) -> None:
    """Everything says how long it is, so that no value can imitate what stands between two others."""
    first, second = pair
    assert digest(first) != digest(second)
    assert encode(first) != encode(second)
    assert digest_columns({"x": [first, second]}) == [digest({"x": first}), digest({"x": second})]


CELLS = VALUES | hnp.arrays(st.sampled_from([np.float32, np.int16]), st.sampled_from([0, 2, (2, 2)]))
COLUMNS = st.integers(0, 4).flatmap(
    lambda rows: st.dictionaries(st.text(), st.lists(CELLS, min_size=rows, max_size=rows), min_size=1, max_size=4)
)


@given(COLUMNS)
def test_digests_of_columns_are_those_of_rows(columns: dict[str, list[object]]) -> None:
    """The fast way over a table's columns gives what each row has as a mapping, whatever is in it."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert digest_columns(columns) == [digest(row) for row in rows]


@given(VALUES)
def test_the_bytes_are_those_that_are_hashed(value: object) -> None:
    """What is encoded already stands for its value."""
    assert digest([Encoded(encode(value)), 1]) == digest([value, 1])


def test_array_digest_sees_dtype_and_shape() -> None:
    """The same bytes as another type or shape are another value."""
    zeros = np.zeros(4, np.float32)
    assert len({digest(zeros), digest(zeros.reshape(2, 2)), digest(zeros.view(np.int32)), digest(zeros.tobytes())}) == 4


@given(
    st.lists(st.none() | hnp.arrays(np.float32, 3, elements=st.floats(-1e3, 1e3, width=32)), max_size=6),
    st.sampled_from([pa.float16(), pa.float32()]),
)
def test_vectors_round_trip(
    tmp_path_factory: pytest.TempPathFactory, vectors: list[np.ndarray | None], kind: pa.DataType
) -> None:
    """FixedSizeList columns come back through pyarrow and polars as they went in, nulls as nulls."""
    path = tmp_path_factory.mktemp("t") / "t.parquet"
    schema = pa.schema([pa.field("vector", pa.list_(kind, 3))])
    pq.write_table(to_table([{"vector": v} for v in vectors], schema), path)
    dtype = kind.to_pandas_dtype()
    expected = [None if v is None else v.astype(dtype).tolist() for v in vectors]
    assert pq.read_table(path)["vector"].to_pylist() == expected
    assert [None if v is None else list(v) for v in pl.read_parquet(path)["vector"].to_list()] == expected


def test_sequences_of_vectors_round_trip(tmp_path) -> None:
    """A list of vectors of any number of steps, or none."""
    schema = pa.schema([pa.field("sequence", pa.list_(pa.list_(pa.float16(), 2)))])
    values = [np.arange(6, dtype=np.float16).reshape(3, 2), None, np.zeros((1, 2), np.float16)]
    pq.write_table(to_table([{"sequence": v} for v in values], schema), tmp_path / "t.parquet")
    got = pq.read_table(tmp_path / "t.parquet")["sequence"].to_pylist()
    assert got == [None if v is None else v.tolist() for v in values]


def test_a_vector_of_the_wrong_length_is_refused() -> None:
    """A model that gives another dimension than it promised does not write a ragged column."""
    with pytest.raises(ValueError, match="does not have the 3 values"):
        to_table([{"vector": np.zeros(2, np.float32)}], pa.schema([pa.field("vector", pa.list_(pa.float32(), 3))]))


def test_a_row_says_whether_it_is_valid() -> None:
    """A skipped clip has a row with nulls and a reason, and a digest of its own."""
    schema = pa.schema([pa.field("x", pa.int32())])
    done, skipped = complete_row("a", "i", {"x": 1}, None, schema), complete_row("a", "i", None, "silent", schema)
    assert (done["valid"], skipped["valid"], skipped["x"], skipped["reason"]) == (True, False, None, "silent")
    assert done["digest"] != skipped["digest"]
    assert to_table([done, skipped], stage_schema(schema)).num_rows == 2
