import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mer_pipeline.tables.rows import complete_row, digest, stage_schema, to_table

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
