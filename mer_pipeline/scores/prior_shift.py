"""The prior shift (`predict.prior`): correct predictions where the classes have other shares than in training.

    p'(c | x) ∝ p(c | x) π'_c / π_c
    π_c    = mean of p(c | x) over the labelled clips, out of fold          what the head takes for granted
    π'_c   = mean of p'(c | x) over the clips that are predicted            by EM, without their labels

p is calibrated by the temperature that is fitted out of fold (calibration.py), because the EM of Saerens, Latinne &
Decaestecker (2002) needs probabilities that mean what they say. π is the mean of predictions and not of labels, so that
clips like the training clips get no shift (Alexandari, Kundaje & Shrikumar 2020). The method assumes that a class looks
the same among both, and that only its share differs. No number is set by hand.
"""

from __future__ import annotations

import numpy as np

from mer_pipeline.base.modalities import Indices, Mask, Matrix
from mer_pipeline.scores.calibration import fit_temperature, temper
from mer_pipeline.scores.confusion import FloatArray

ROUNDS, CLOSE = 1000, 1e-6  # EM ends after so many rounds, or when no share changes by more than CLOSE


def shift(probabilities: Matrix, prior: FloatArray, other: FloatArray) -> Matrix:
    """Return the probabilities under another prior, float32 (n, C).

    Args:
        probabilities: float32 (n, C), calibrated, under the prior.
        prior: float64 (C,), the share of each class that they take for granted.
        other: float64 (C,), the shares to correct to.

    Example:
        >>> shift(np.array([[0.5, 0.5]]), np.array([0.5, 0.5]), np.array([0.75, 0.25])).tolist()
        [[0.75, 0.25]]
    """
    ratio = np.where(prior > 0, other / np.where(prior > 0, prior, 1), 0)
    raised = probabilities.astype(np.float64) * ratio
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


def fit_prior(probabilities: Matrix, prior: FloatArray) -> FloatArray:
    """Return the shares of the classes among n clips, float64 (C,), by EM that starts at the prior.

    Without clips this is the prior itself.

    Args:
        probabilities: float32 (n, C), calibrated, under the prior.
        prior: float64 (C,), the share of each class that they take for granted.

    Example:
        Under equal shares four of ten clips are surely of one class and six surely of the other:

        >>> fit_prior(np.repeat(np.eye(2), [4, 6], axis=0), np.array([0.5, 0.5])).round(3).tolist()
        [0.4, 0.6]
    """
    found = prior
    for _ in range(ROUNDS if len(probabilities) else 0):
        before, found = found, shift(probabilities, prior, found).mean(axis=0, dtype=np.float64)
        if np.abs(found - before).max() < CLOSE:
            break
    return found


def mean_of(probabilities: Matrix) -> FloatArray:
    """Return the mean of probabilities (n, C), float64 (C,): the prior that they take for granted."""
    return np.asarray(probabilities.mean(axis=0, dtype=np.float64))


def shift_out_of_fold(probabilities: Matrix, label: Indices, fold: Indices, told: Mask) -> Matrix:
    """Return out-of-fold probabilities with the temperature and the prior shift, float32 (n, C).

    Each fold is treated as clips without labels are: temperature and prior come from the other folds, and the shares
    of its own classes from EM on its predictions.

    Args:
        probabilities: float32 (n, C), out of fold.
        label: int64 (n,), the class indices that the temperature is fitted to.
        fold: int64 (n,), the fold of each clip.
        told: bool (n,), false for a clip that got the training prior, which stays as it is.
    """
    shifted = probabilities.copy()
    for f in np.unique(fold[told]):
        inside, others = told & (fold == f), told & (fold != f)
        if not others.any():
            continue
        temperature = fit_temperature(probabilities[others], label[others])
        prior, own = mean_of(temper(probabilities[others], temperature)), temper(probabilities[inside], temperature)
        shifted[inside] = shift(own, prior, fit_prior(own, prior))
    return shifted
