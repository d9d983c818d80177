"""The benchmarks measure what they say: what a way of training is given reaches the training."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.training.member import fixed_threads
from tests.project import ROOT


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """24 speakers, 8 clips each, four classes that one modality tells."""
    rng = np.random.default_rng(0)
    said = np.tile(np.arange(4), 48)
    x = np.eye(4)[said] + 0.3 * rng.normal(size=(192, 4))
    path = tmp_path / "table.parquet"
    pq.write_table(
        pa.table(
            {
                "name": [f"s{i // 8:02}-{i % 8}" for i in range(192)],
                "label": [f"c{c}" for c in said],
                "speaker": [f"s{i // 8:02}" for i in range(192)],
                "voice": pa.array([list(map(float, row)) for row in x], pa.list_(pa.float32(), 4)),
            }
        ),
        path,
    )
    return path


@pytest.fixture
def pseudo(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """benchmarks/pseudo.py, which takes heads.py from beside it."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("pseudo")
    for name in ("heads", "pseudo"):  # other tests may have modules of these names
        sys.modules.pop(name, None)


def test_pseudo_labels_reach_the_heads(table: Path, pseudo: ModuleType) -> None:
    """Labels of the pool that are all wrong teach a head to be wrong."""
    drawn = pseudo.draw(table, 0, right=0.8)
    wrong = np.tile((drawn.pool_true + 1) % 4, (pseudo.FOLDS, 1))
    with fixed_threads():
        plain, misled = (pseudo.figures(drawn, "logreg", labels) for labels in (None, wrong))
    assert plain.test > 0.9
    assert misled.test < 0.5


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path: Path) -> None:
    """Benchmarks run seldom; a name that moved is found here and not hours later."""
    gone = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"mer_pipeline", "tests"}:
            module = importlib.import_module(str(node.module))
            names = [f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)]
            is_package = hasattr(module, "__path__")
            gone += [name for name in names if not is_package or importlib.util.find_spec(name) is None]
    assert gone == []
