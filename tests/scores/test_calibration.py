"""Calibration: figures that are known, and a temperature that was planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn import metrics

from mer_pipeline.base.modalities import Indices, Matrix
from mer_pipeline.scores.calibration import (
    FLATTEST,
    SHARPEST,
    calibration,
    ece_if_calibrated,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability_table,
    temper,
    temper_out_of_fold,
)
from mer_pipeline.scores.evaluation import temper_told


def planted(n: int, temperature: float, seed: int = 0) -> tuple[Matrix, Indices]:
    """Labels drawn from the right probabilities, and probabilities that are too sure by this temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, 4)) * 1.5
    right = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (right.cumsum(axis=1) < random.random((n, 1))).sum(axis=1).clip(max=3)
    said = np.exp(logits * temperature)
    return (said / said.sum(axis=1, keepdims=True)).astype(np.float32), label


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_planted_temperature_is_found(temperature: float) -> None:
    """And takes the error of calibration down to what clips this many have by chance."""
    said, label = planted(20_000, temperature)
    found = fit_temperature(said, label)
    assert found == pytest.approx(temperature, rel=0.04)
    after = temper(said, found)
    assert expected_calibration_error(after, label) < 2.5 * ece_if_calibrated(after) < 0.03
    if temperature != 1:
        assert expected_calibration_error(said, label) > 0.1


def test_it_is_the_best_one() -> None:
    """Of the cross-entropy, as another minimiser finds it."""
    said, label = planted(300, 1.7, seed=4)
    found = minimize_scalar(lambda t: log_loss(temper(said, t), label), bounds=(0.1, 10), method="bounded")
    assert fit_temperature(said, label) == pytest.approx(found.x, rel=1e-3)
    exact = said.astype(np.float64)
    assert log_loss(said, label) == pytest.approx(metrics.log_loss(label, exact / exact.sum(axis=1, keepdims=True)))


def test_no_label_changes() -> None:
    """The order of the classes stays, however flat or sharp; what sums to 1 still does."""
    said, _ = planted(500, 1.0)
    for temperature in (SHARPEST, 0.7, 1.0, 3.0, FLATTEST):
        after = temper(said, temperature)
        assert (after[np.arange(500), said.argmax(axis=1)] == after.max(axis=1)).all()
        assert after.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert after.dtype == np.float32
    assert temper(np.array([[1, 0, 0]], dtype=np.float32), FLATTEST)[0].argmax() == 0


def test_data_without_a_temperature() -> None:
    """All right: as sharp as allowed; all wrong: as flat; no clips: none."""
    said = np.array([[0.7, 0.3], [0.4, 0.6]], dtype=np.float32)
    assert fit_temperature(said, np.array([0, 1])) == pytest.approx(SHARPEST)
    assert fit_temperature(said, np.array([1, 0])) == pytest.approx(FLATTEST)
    nothing = np.zeros((0, 2), dtype=np.float32)
    assert fit_temperature(nothing, np.zeros(0, dtype=np.int64)) == 1
    empty = calibration(nothing, nothing, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool))
    assert (empty.n, empty.ece, empty.log_loss, empty.ece_if_calibrated) == (0, 0, 0, 0)


def test_calibration_error_by_hand() -> None:
    """Two clips at .9 of which one is right, and two at .6 that are right: (2 |.5 - .9| + 2 |1 - .6|) / 4."""
    said = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]], dtype=np.float32)
    label = np.array([0, 1, 1, 1])
    assert expected_calibration_error(said, label) == pytest.approx(0.4)
    rows = [row for row in reliability_table(said, label) if row.n]
    assert [(row.low, row.high, row.n, row.accuracy) for row in rows] == [
        (0.5, 0.6, 2, 1.0),
        (0.8, 0.9, 2, 0.5),
    ]
    assert [row.confidence for row in rows] == pytest.approx([0.6, 0.9])


def test_a_calibrated_head_has_an_error_too() -> None:
    """On 100 clips about what is measured where probabilities are right; far less on many."""
    measured = [expected_calibration_error(*planted(100, 1.0, seed)) for seed in range(40)]
    said, _ = planted(100, 1.0, 99)
    assert ece_if_calibrated(said) == pytest.approx(np.mean(measured), rel=0.25)
    assert ece_if_calibrated(planted(10_000, 1.0)[0]) < ece_if_calibrated(said) / 5


def test_a_fold_does_not_choose_its_own_temperature() -> None:
    """Other labels in a fold change the others' probabilities and not its own."""
    said, label = planted(200, 2.0)
    fold = np.arange(200) % 4
    before = temper_out_of_fold(said, label, fold)
    other = np.where(fold == 1, (label + 1) % 4, label)
    after = temper_out_of_fold(said, other, fold)
    assert (before[fold == 1] == after[fold == 1]).all()
    assert (before[fold != 1] != after[fold != 1]).any(axis=1).all()


def test_a_prior_is_left_as_it_is() -> None:
    """A clip with nothing to go by has the training prior, which no temperature is for."""
    said, _ = planted(4, 2.0)
    by_prior = np.array([False, True, False, True])
    after = temper_told(said, by_prior, 2.0)
    assert (after[by_prior] == said[by_prior]).all()
    assert (after[~by_prior] == temper(said, 2.0)[~by_prior]).all()
