"""Scores of sets and of numbers, compared with scikit-learn and with their formulas written out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, root_mean_squared_error

from mer_pipeline.scores.bootstrap import times_drawn, units_of
from mer_pipeline.scores.numbers import MEASURES, ccc, moments, resampled_ccc
from mer_pipeline.scores.sets import (
    average_precision,
    best_thresholds,
    class_precisions,
    decided_out_of_fold,
    mean_average_precision,
    resampled_map,
    set_f1,
)
from mer_pipeline.scores.target import judge
from tests.planted_targets import NUMBERS, SETS

RNG = np.random.default_rng(0)
N = 200
TRUE = (RNG.random((N, 3)) < [0.5, 0.2, 0.05]).astype(np.float32)
SAID = (0.3 * TRUE + 0.7 * RNG.random((N, 3))).round(1).astype(np.float32)  # with many ties
X = RNG.normal(size=(N, 2)).astype(np.float32)
Y = (0.5 * X + RNG.normal(size=(N, 2)) + 0.3).astype(np.float32)
GROUPS = [f"g{i % 20}" for i in range(N)]
FOLD = np.arange(N) % 5


def test_average_precision_is_scikit_learns() -> None:
    """With ties and with weights; a constant has the share of the class."""
    np.testing.assert_allclose(class_precisions(TRUE, SAID), average_precision_score(TRUE, SAID, average=None))
    weight = RNG.integers(0, 3, size=N)
    ours = average_precision(TRUE[:, 0] > 0, SAID[:, 0], weight[None].astype(float))
    np.testing.assert_allclose(ours, [average_precision_score(TRUE[:, 0], SAID[:, 0], sample_weight=weight)])
    np.testing.assert_allclose(class_precisions(TRUE, np.zeros_like(SAID)), TRUE.mean(axis=0))
    assert mean_average_precision(TRUE[:, [0, 0]] * [1, 0], SAID[:, :2]) == class_precisions(TRUE, SAID)[0]


def test_f1_of_sets_is_scikit_learns() -> None:
    """By class and micro, at thresholds that the scored fold has no part in."""
    decided = decided_out_of_fold(TRUE, SAID, FOLD)
    each, micro = set_f1(TRUE > 0, decided)
    np.testing.assert_allclose(each, f1_score(TRUE, decided, average=None))
    assert micro == pytest.approx(f1_score(TRUE, decided, average="micro"))
    flipped = np.where((FOLD == 2)[:, None], 1 - TRUE, TRUE)
    assert (decided_out_of_fold(flipped, SAID, FOLD)[FOLD == 2] == decided[FOLD == 2]).all()


def test_no_threshold_has_a_higher_f1() -> None:
    """Than the one that is chosen, among all that differ; a class that nobody has is decided at a half."""
    for c, chosen in enumerate(best_thresholds(TRUE, SAID)):
        f1 = {t: f1_score(TRUE[:, c], SAID[:, c] >= t) for t in (*np.unique(SAID[:, c]), chosen)}
        assert f1[chosen] == max(f1.values())
    assert best_thresholds(np.zeros((4, 1)), np.zeros((4, 1), np.float32)).tolist() == [0.5]


def test_scores_of_numbers_are_their_formulas() -> None:
    """CCC by Lin's formula with the population's moments, the others by numpy and scikit-learn."""
    sums = moments(X, Y).sum(axis=0)
    for d in range(2):
        x, y = X[:, d].astype(float), Y[:, d].astype(float)
        cov = np.cov(x, y, bias=True)
        lin = 2 * cov[0, 1] / (cov[0, 0] + cov[1, 1] + (x.mean() - y.mean()) ** 2)
        expected = {
            "ccc": lin,
            "pearson": np.corrcoef(x, y)[0, 1],
            "mae": mean_absolute_error(x, y),
            "rmse": root_mean_squared_error(x, y),
        }
        assert {name: measure(sums)[d] for name, measure in MEASURES.items()} == pytest.approx(expected)
    same, constant = moments(X, X).sum(axis=0), moments(X, np.full_like(X, 0.3)).sum(axis=0)
    np.testing.assert_allclose(ccc(same), 1)
    assert ccc(constant).tolist() == MEASURES["pearson"](constant).tolist() == [0, 0]


def test_resamples_are_of_the_drawn_groups() -> None:
    """Both scores of a resample are those of its clips, each as often as its group is drawn."""
    units = units_of(GROUPS)
    times = next(iter(times_drawn(units)))[0].astype(int)
    rows = np.repeat(np.arange(N), times[units.of])
    assert resampled_ccc(X, Y, units)[0] == pytest.approx(ccc(moments(X[rows], Y[rows]).sum(axis=0)).mean())
    assert resampled_map(TRUE, SAID, units)[0] == pytest.approx(mean_average_precision(TRUE[rows], SAID[rows]))


def test_what_a_score_says() -> None:
    """Means over seeds by figure and by name, the spread of the main figure, and an interval that holds it."""
    found = judge(NUMBERS, X, [Y, X], units=units_of(GROUPS))
    assert found.figures["ccc"] == pytest.approx((float(ccc(moments(X, Y).sum(axis=0)).mean()) + 1) / 2, abs=1e-6)
    assert set(found.each) == {"valence", "arousal"}
    assert found.sd > 0.1
    assert found.interval is not None
    assert found.interval.low < found.figures["ccc"] < found.interval.high
    sets = judge(SETS, TRUE, [SAID], [SAID > 0.5])
    assert set(sets.figures) == {"map", "macro_f1", "micro_f1", "exact"}
    assert sets.figures["exact"] == pytest.approx(((SAID > 0.5) == (TRUE > 0)).all(axis=1).mean(), abs=1e-6)
