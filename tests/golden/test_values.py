"""A value of the demo that moves is named, with the command that accepts it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base import numerics
from mer_pipeline.tables.rows import complete_row, stage_schema, to_table
from tests.golden import values

SCHEMA = pa.schema([pa.field("vector", pa.list_(pa.float32()))])


def project(folder: Path, vector: np.ndarray, f1: float = 0.5) -> Path:
    """A table of ten rows with this vector in the last one, and the scores of a head."""
    rng = np.random.default_rng(0)
    vectors = [*rng.normal(size=(9, len(vector))).astype(np.float32), vector]
    rows = [complete_row(f"c{at}", "", {"vector": one.tolist()}, None, SCHEMA) for at, one in enumerate(vectors)]
    path = folder / "data/features/voice/part-00000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(to_table(rows, stage_schema(SCHEMA)), path)
    (folder / "metrics").mkdir()
    for name in values.METRICS:
        (folder / name).write_text(json.dumps({"heads": {"ecmf": {"true": {"weighted_f1": f1}}}}))
    return folder


@pytest.fixture
def vector() -> np.ndarray:
    """Of 64 numbers."""
    return np.linspace(-1, 1, 64, dtype=np.float32)


def test_what_did_not_move_is_not_named(tmp_path: Path, vector: np.ndarray) -> None:
    """The same values in another folder."""
    a, b = (values.golden_of(project(tmp_path / name, vector)) for name in "ab")
    assert values.moved(a, b, frozenset(a)) == []


def test_the_last_bit_of_one_number_is_seen(tmp_path: Path, vector: np.ndarray) -> None:
    """Where a CPU is held to the bytes; elsewhere that is within the tolerance."""
    other = vector.copy()
    other[7] = np.nextafter(other[7], np.float32(2))
    a, b = (values.golden_of(project(tmp_path / str(at), one)) for at, one in enumerate((vector, other)))
    assert values.moved(a, b, frozenset(a)) == ["data/features/voice has other values, in last digits"]
    assert values.moved(a, b, frozenset()) == []


def test_a_number_that_really_changes_is_seen_everywhere(tmp_path: Path, vector: np.ndarray) -> None:
    """The column is named with its mean before and after."""
    a, b = (values.golden_of(project(tmp_path / str(at), one)) for at, one in enumerate((vector, vector + 1)))
    [told] = values.moved(a, b, frozenset())
    assert told.startswith("data/features/voice has other values: the mean of vector was ")


def test_a_score_that_moves_is_seen(tmp_path: Path, vector: np.ndarray) -> None:
    """By any digit where the CPU is held to the bytes, by more than a few clips elsewhere."""
    a, b, c = (values.golden_of(project(tmp_path / str(f1), vector, f1)) for f1 in (0.5, 0.501, 0.6))
    assert values.moved(a, b, frozenset(a))[0] == "metrics/predict.json: heads.ecmf.true was 0.5, is 0.501"
    assert values.moved(a, b, frozenset()) == []
    assert len(values.moved(a, c, frozenset())) == 2


def test_a_table_that_is_gone_or_new_is_named(tmp_path: Path, vector: np.ndarray) -> None:
    """Neither is silence."""
    golden = values.golden_of(project(tmp_path, vector))
    less = {name: of for name, of in golden.items() if name != "features/voice"}
    assert values.moved(golden, less, frozenset()) == ["features/voice is gone"]
    assert values.moved(less, golden, frozenset()) == ["features/voice is new"]


@pytest.mark.parametrize(("x86", "told", "exact"), [(False, "not an x86-64", 0), (True, "", 13)])
def test_a_machine_that_is_not_held_says_so(monkeypatch: pytest.MonkeyPatch, x86: bool, told: str, exact: int) -> None:
    """In a sentence; whoever made an x86-64 CPU, everything is exact on it."""
    monkeypatch.setattr(numerics, "is_x86", lambda: x86)
    held, note = values.held_here(frozenset(json.loads(values.GOLDEN.read_text())))
    assert len(held) == exact
    assert told in note
