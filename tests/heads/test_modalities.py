"""Features meet clips by id, absence is a mask, and scaling looks at training rows only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mer_pipeline.base.errors import StageError
from mer_pipeline.base.modalities import Features, load_features
from mer_pipeline.config.project import Project
from mer_pipeline.heads.scaler import Scaler
from mer_pipeline.tables.shards import write_table
from tests.planted import NAMES, Planted


def test_rows_meet_clips_by_id(planted: Planted, project: Callable[..., Project]) -> None:
    """In any order asked for; a clip that is not in the table, or not valid there, is masked and zero."""
    root = project(planted).features
    order = np.random.default_rng(0).permutation(len(planted.clip_ids))
    loaded = load_features(root, NAMES, [*(planted.clip_ids[i] for i in order), "nobody"])
    assert (loaded.mask[:-1] == planted.features.mask[order]).all()
    assert not loaded.mask[-1].any()
    for x, expected in zip(loaded.x, planted.features.x, strict=True):
        assert (x[:-1] == expected[order]).all()
        assert x.dtype == np.float32


def test_only_the_named_encoders_are_read(planted: Planted, project: Callable[..., Project]) -> None:
    """A folder that DVC left behind is not a modality, and a named one that is missing is an error."""
    root = project(planted).features
    assert load_features(root, ["voice"], planted.clip_ids).dims == (8,)
    with pytest.raises(StageError, match="has no shards"):
        load_features(root, ["scene", "words"], planted.clip_ids)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (pa.array([[1.0, float("nan")]], pa.list_(pa.float32(), 2)), "clip 'c' is not finite"),
        (pa.array([[1.0, 2.0]], pa.list_(pa.float32())), "not a fixed number of floats"),
    ],
)
def test_bad_vectors_are_one_clear_error(tmp_path: Path, vector: pa.Array, message: str) -> None:
    """The folder and the clip are named."""
    table = pa.table({"clip_id": ["c"], "vector": vector, "valid": [True]})
    write_table(tmp_path / "voice/part-00000.parquet", table)
    with pytest.raises(StageError, match=message):
        load_features(tmp_path, ["voice"], ["c"])


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    """A null vector is absent even where the row says it is valid."""
    vector = pa.array([np.array([1, 2], np.float16), None], pa.list_(pa.float16(), 2))
    write_table(
        tmp_path / "voice/part-00000.parquet", pa.table({"clip_id": ["a", "b"], "vector": vector, "valid": [True] * 2})
    )
    loaded = load_features(tmp_path, ["voice"], ["b", "a"])
    assert loaded.x[0].tolist() == [[0, 0], [1, 2]]
    assert loaded.mask.tolist() == [[False], [True]]


@given(
    x=arrays(np.float32, (7, 3), elements=st.floats(-100, 100, width=16)),
    mask=arrays(np.bool_, (7, 1)),
    lies=arrays(np.float32, (7, 3), elements=st.floats(-100, 100, width=16)),
)
def test_absent_rows_neither_count_nor_show(x: np.ndarray, mask: np.ndarray, lies: np.ndarray) -> None:
    """Whatever stands in a masked row, the scaler and the scaled features have the same bytes."""
    honest, lying = Features(("m",), (x,), mask), Features(("m",), (np.where(mask, x, lies),), mask)
    one, two = Scaler.fit(honest), Scaler.fit(lying)
    assert one.mean[0].tobytes() == two.mean[0].tobytes()
    assert one.inverse[0].tobytes() == two.inverse[0].tobytes()
    assert one.apply(honest).x[0].tobytes() == two.apply(lying).x[0].tobytes()
    assert (one.apply(honest).x[0][~mask[:, 0]] == 0).all()
    assert np.isfinite(one.apply(lying).x[0]).all()


def test_constant_columns_and_unseen_modalities_say_nothing() -> None:
    """A column that never varied in training is zero ever after; a modality of only such columns is masked."""
    x = np.array([[1, 5], [2, 5], [3, 5]], dtype=np.float32)
    y = np.full((3, 1), 0.1, dtype=np.float32)
    scaler = Scaler.fit(Features(("x", "y"), (x, y), np.ones((3, 2), dtype=bool)))
    later = scaler.apply(Features(("x", "y"), (x + 7, y + 1), np.ones((3, 2), dtype=bool)))
    assert (later.x[0][:, 1] == 0).all()
    assert (later.x[0][:, 0] != 0).all()
    assert later.mask.tolist() == [[True, False]] * 3
