"""The prior shift finds the shares of the classes among clips without labels, and corrects predictions to them."""

from __future__ import annotations

import numpy as np
import pytest

from mer_pipeline.scores.calibration import log_loss
from mer_pipeline.scores.prior_shift import fit_prior, mean_of, shift, shift_out_of_fold

TRAINING = np.array([0.6, 0.3, 0.1])
OTHER = np.array([0.2, 0.3, 0.5])


def clips(prior: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, the exact posterior under the training prior, and that under their own prior, of Gaussian clips."""
    rng = np.random.default_rng(seed)
    label = rng.choice(3, n, p=prior)
    x = 1.5 * np.eye(3)[label] + rng.normal(size=(n, 3))
    joint = np.exp(1.5 * x)  # p(x | c) up to what is the same for all classes
    said = [share * joint / (share * joint).sum(axis=1, keepdims=True) for share in (TRAINING, prior)]
    return label, said[0].astype(np.float32), said[1].astype(np.float32)


def test_em_finds_the_shares_of_the_other_clips() -> None:
    """To what 4,000 clips tell; and the correction is Bayes' rule under these shares."""
    label, said, exact = clips(OTHER, 4000, 0)
    found = fit_prior(said, TRAINING)
    np.testing.assert_allclose(found, OTHER, atol=0.03)
    np.testing.assert_allclose(shift(said, TRAINING, OTHER), exact, atol=1e-5)
    shifted = shift(said, TRAINING, found)
    assert log_loss(shifted, label) < log_loss(said, label) - 0.1
    assert (shifted.argmax(axis=1) == label).mean() > (said.argmax(axis=1) == label).mean() + 0.03


def test_clips_like_the_training_clips_get_no_shift() -> None:
    """EM starts at the prior that predictions take for granted, and that is where it stays."""
    _, said, _ = clips(TRAINING, 500, 1)
    taken = mean_of(said)
    np.testing.assert_allclose(fit_prior(said, taken), taken, atol=1e-9)
    np.testing.assert_allclose(shift(said, taken, taken), said, atol=1e-6)


def test_no_clips_and_a_class_without_a_share_are_no_error() -> None:
    """The prior stays, and the class stays impossible."""
    prior = np.array([0.5, 0.5, 0.0])
    assert np.array_equal(fit_prior(np.zeros((0, 3), np.float32), prior), prior)
    said = np.array([[0.6, 0.4, 0.0]], np.float32)
    assert shift(said, prior, prior)[0].tolist() == pytest.approx([0.6, 0.4, 0])


def test_out_of_fold_a_fold_is_treated_as_clips_without_labels_are() -> None:
    """Its own labels change nothing of its predictions; a fold of other shares gains; a clip by the prior stays."""
    label, said, _ = clips(TRAINING, 1500, 2)
    other, more, _ = clips(OTHER, 500, 3)
    label, said, fold = np.concatenate([label, other]), np.concatenate([said, more]), np.arange(2000) // 500
    told = np.arange(2000) != 1999
    found = shift_out_of_fold(said, label, fold, told)
    assert np.array_equal(found[1999], said[1999])
    lies = np.where(fold == 3, 0, label)
    assert np.array_equal(shift_out_of_fold(said, lies, fold, told)[fold == 3], found[fold == 3])
    assert log_loss(found[fold == 3], other) < log_loss(said[fold == 3], other) - 0.1
