"""Differences between two systems on the same clips: their size, their doubt, and how often chance is called a fact."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mer_pipeline.scores.bootstrap import units_of
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.scores.differences import compare, holm
from tests.planted import sure

CLASSES = 4


def made(rng: np.random.Generator, accuracy: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Predictions that are right with this chance for each clip."""
    wrong = (true + rng.integers(1, CLASSES, len(true))) % CLASSES
    return sure(np.where(rng.random(len(true)) < accuracy, true, wrong), CLASSES)


def test_the_difference_is_that_of_the_means_over_seeds() -> None:
    """Of equally many, or of one where chance plays no part; a system beside itself differs by nothing, for certain."""
    rng = np.random.default_rng(0)
    true = rng.integers(CLASSES, size=90)
    systems = [[made(rng, np.full(90, p), true) for _ in range(s)] for p, s in ((0.5, 3), (0.8, 3), (0.7, 1))]
    units = units_of([f"g{i % 9}" for i in range(90)])
    first = systems[0]
    better, single, same = compare(true, first, [*systems[1:], first], units, CLASSES)
    f1 = [np.mean([Confusion.of(true, one.argmax(axis=1), CLASSES).weighted_f1 for one in each]) for each in systems]
    for row, mean in ((better, f1[1]), (single, f1[2])):
        assert row.difference == pytest.approx(mean - f1[0], abs=1e-6)
        assert row.low < row.difference < row.high
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_interval_and_p_agree_with_students_t() -> None:
    """Where every group has equal shares of the classes, F1 is near a mean over groups, and the test near a t-test."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(10), 40)
    true = np.tile(np.arange(CLASSES), 100)
    a, b = (made(rng, (0.55 + shift + 0.08 * rng.normal(size=10))[group], true) for shift in (0, 0.1))
    (row,) = compare(true, [a], [[b]], units_of([f"g{g}" for g in group]), CLASSES)
    right = [np.bincount(group, one.argmax(axis=1) == true) / 40 for one in (a, b)]
    assert row.p == pytest.approx(stats.ttest_rel(*right).pvalue, rel=0.3)
    assert (row.p < 0.05) == (row.low > 0 or row.high < 0)


def test_chance_is_called_a_fact_one_time_in_twenty() -> None:
    """8 groups, 300 pairs of equal systems: percentiles of the same resamples would call 10 %."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(8), 15)
    units, called = units_of([f"g{g}" for g in group]), 0
    for _ in range(300):
        true = rng.integers(CLASSES, size=len(group))
        a, b = (made(rng, np.clip(0.55 + 0.1 * rng.normal(size=8), 0, 1)[group], true) for _ in range(2))
        (row,) = compare(true, [a], [[b]], units, CLASSES)
        called += row.p < 0.05
    assert 5 <= called <= 24  # .017 to .08


def test_a_lucky_seed_is_no_better_system() -> None:
    """Seeds that are better or worse on all clips at once: with 40 groups the clips leave hardly a doubt of these
    members, and yet one pair in twenty is called different, not most."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(40), 10)
    units, called, blind = units_of([f"g{g}" for g in group]), 0, 0
    for _ in range(100):
        true = rng.integers(CLASSES, size=len(group))
        a, b = ([made(rng, np.full(400, 0.6 + 0.1 * rng.normal()), true) for _ in range(3)] for _ in range(2))
        (row,) = compare(true, a, [b], units, CLASSES)
        called += row.p < 0.05
        # One seed beside one: all that is known is the clips.
        (row,) = compare(true, a[:1], [b[:1]], units, CLASSES)
        blind += row.p < 0.05
    assert called <= 12
    assert blind > 50


def test_one_unit_tells_no_doubt() -> None:
    """The difference stands without interval and p, and is in no family."""
    (row,) = compare(np.array([0]), [sure(np.array([0]), 2)], [[sure(np.array([1]), 2)]], units_of(["a"]), 2)
    assert row.difference == -1
    assert {row.low, row.high, row.p, row.p_holm} == {None}


def test_holm_is_holms() -> None:
    """By hand: the smallest times 4, the next times 3, never falling, never above 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == [0.03, 0.06, 0.06, 0.02]
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
