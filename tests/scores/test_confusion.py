"""The scores are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)

from mer_pipeline.scores.confusion import MEASURES, Confusion, class_f1, class_precision, class_recall
from mer_pipeline.scores.score import class_table, score
from tests.planted import sure

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
        assert list(row.plain().values()) == pytest.approx([column[c] for column in expected], abs=1e-6)


@given(PAIRS)
def test_measures_equal_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    """All of one matrix."""
    true, predicted = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    counts = Confusion.of(true, predicted, 4).counts
    expected = {
        "weighted_f1": f1_score(true, predicted, average="weighted", zero_division=0),
        "macro_f1": f1_score(true, predicted, average="macro", zero_division=0),
        "uar": recall_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0),
        "accuracy": accuracy_score(true, predicted),
    }
    assert {name: float(measure(counts)) for name, measure in MEASURES.items()} == pytest.approx(expected)
    assert class_f1(counts) == pytest.approx(f1_score(true, predicted, labels=range(4), average=None, zero_division=0))


@pytest.mark.parametrize("classes", [2, 6, 9])
def test_many_matrices_at_once_score_as_each_alone(classes: int) -> None:
    """To the last bit: early stopping scores one matrix, the bootstrap thousands, by the same functions."""
    several = np.random.default_rng(classes).integers(30, size=(3, 5, classes, classes))
    several[0, 0] = 0
    for measure in (*MEASURES.values(), class_precision, class_recall, class_f1):
        # The axes as the bootstrap has them, which are not those in memory.
        together = measure(np.moveaxis(np.moveaxis(several, 0, 1).copy(), 0, 1))
        for p, r in np.ndindex(3, 5):
            assert np.array_equal(together[p, r], measure(several[p, r]))
    assert Confusion(several[2, 4]).weighted_f1 == MEASURES["weighted_f1"](several)[2, 4]


def test_a_score_is_the_mean_over_seeds() -> None:
    """With the population standard deviation beside it."""
    true = np.array([0, 1, 1, 0])
    both = score(true, [0.8 * sure(one, 2) + 0.1 for one in (true, 1 - true)])
    assert {key: value for key, value in both.plain().items() if key not in {"log_loss", "ece", "brier"}} == {
        "n": 4, "weighted_f1": 0.5, "macro_f1": 0.5, "uar": 0.5, "weighted_f1_sd": 0.5,
    }  # fmt: skip
    assert both.log_loss == pytest.approx(-np.log(0.9 * 0.1) / 2, abs=1e-6)
    assert both.ece == pytest.approx((0.1 + 0.9) / 2, abs=1e-6)
    assert both.brier == pytest.approx((2 * 0.1**2 + 2 * 0.9**2) / 2, abs=1e-6)
    assert score(true, [sure(true, 2)]).weighted_f1_sd == 0


def test_no_clips_score_zero() -> None:
    """And not NaN."""
    nothing = np.zeros(0, dtype=np.int64)
    none = score(nothing, [sure(nothing, 3)])
    assert (none.weighted_f1, none.log_loss, none.ece, none.brier) == (0, 0, 0, 0)
