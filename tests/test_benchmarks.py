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


def test_the_panel_scores_everybody_out_of_fold_on_the_same_clips(tmp_path: Path) -> None:
    """Labels that are drawn by lot are learnt by heart, and nobody is above chance by more than luck; what was measured
    is kept, and what was not is a dash."""
    from benchmarks import panel
    from benchmarks.panel_sets import draw, whole

    rng = np.random.default_rng(0)
    features = whole(voice=rng.normal(size=(150, 40)).astype(np.float32))
    draws = [draw(features, rng.integers(3, size=150), [f"s{i // 15}" for i in range(150)])]
    names = ("LogisticRegressionCV", "joint")
    found = panel.measure("lot", draws, names, tmp_path, compute=True)
    again = panel.measure("lot", draws, (*names, "ecmf"), tmp_path, compute=False)
    assert set(again.said) == set(names)
    for name in names:
        np.testing.assert_allclose(found.said[name].sum(axis=1), 1, atol=1e-5)
        assert np.array_equal(found.said[name], again.said[name])
    f1, resamples = again.f1(names)
    assert max(f1) < 0.45
    assert resamples.shape[0] == 2
    assert "| lot | 150 |" in "\n".join(panel.page({"lot": again}))
