"""The scores are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, recall_score

from mer_pipeline.scores.metrics import Confusion, class_table, score

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@given(PAIRS)
def test_scores_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    """Weighted and macro F1, unweighted recall of the classes that occur, the confusion and the class table."""
    true, predicted = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    found = Confusion.of(true, predicted, 4)
    assert found.weighted_f1 == pytest.approx(f1_score(true, predicted, average="weighted", zero_division=0))
    assert found.macro_f1 == pytest.approx(f1_score(true, predicted, average="macro", zero_division=0))
    occur = np.unique(true)
    assert found.uar == pytest.approx(recall_score(true, predicted, labels=occur, average="macro", zero_division=0))
    assert (found.counts == confusion_matrix(true, predicted, labels=range(4))).all()
    expected = precision_recall_fscore_support(true, predicted, labels=range(4), zero_division=0)
    table = class_table(found, ["a", "b", "c", "d"])
    for c, row in enumerate(table.values()):
        assert list(row.values()) == pytest.approx([column[c] for column in expected], abs=1e-6)


def test_a_score_is_the_mean_over_seeds() -> None:
    """With the population standard deviation beside it."""
    true = np.array([0, 1, 1, 0])
    both = score(true, [true, 1 - true], 2)
    assert both == {"n": 4, "weighted_f1": 0.5, "macro_f1": 0.5, "uar": 0.5, "weighted_f1_sd": 0.5}
    assert score(true, [true], 2)["weighted_f1_sd"] == 0


def test_no_clips_score_zero() -> None:
    """And not NaN."""
    nothing = np.zeros(0, dtype=np.int64)
    assert score(nothing, [nothing], 3)["weighted_f1"] == 0
