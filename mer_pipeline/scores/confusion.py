"""Scores of predicted labels, all of which are functions of the confusion matrix.

    N (..., C, C)                           counts: true classes in rows, predicted ones in columns, in class order
    n_c = Σ_k N_ck                          the number of clips whose true class is c
    F1_c = 2 N_cc / (n_c + Σ_k N_kc)        0 for a class that neither occurs nor is predicted
    weighted F1 = Σ_c n_c F1_c / Σ_c n_c    the measure of the challenge

The functions take one matrix, or many at once as the bootstrap has them. They equal those of scikit-learn (a test
compares them), but take only microseconds, because early stopping needs a score in every epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def class_precision(counts: IntArray) -> FloatArray:
    """Return the precision of each class, float64 (..., C), for counts (..., C, C); 0 if it is never predicted."""
    return np.asarray(_diagonal(counts) / np.maximum(counts.sum(axis=-2), 1))


def class_recall(counts: IntArray) -> FloatArray:
    """Return the recall of each class, float64 (..., C), for counts (..., C, C); 0 if it does not occur."""
    return np.asarray(_diagonal(counts) / np.maximum(counts.sum(axis=-1), 1))


def class_f1(counts: IntArray) -> FloatArray:
    """Return the F1 of each class, float64 (..., C), for counts (..., C, C).

    It is 0 for a class that neither occurs nor is predicted.
    """
    return np.asarray(2 * _diagonal(counts) / np.maximum(_met(counts), 1))


def weighted_f1(counts: IntArray) -> FloatArray:
    """Return the mean F1, weighted by the true number of clips of each class, float64 (...); 0 without clips.

    Example:
        >>> round(float(weighted_f1(np.array([[2, 0], [1, 1]]))), 3)
        0.733
    """
    support = counts.sum(axis=-1)
    return np.asarray((class_f1(counts) * support).sum(axis=-1) / np.maximum(support.sum(axis=-1), 1))


def macro_f1(counts: IntArray) -> FloatArray:
    """Return the mean F1 of the classes that occur or are predicted, float64 (...); 0 without clips."""
    return _mean_where(class_f1(counts), _met(counts) > 0)


def uar(counts: IntArray) -> FloatArray:
    """Return the unweighted average recall (UAR) of the classes that occur, float64 (...); 0 without clips."""
    return _mean_where(class_recall(counts), counts.sum(axis=-1) > 0)


def accuracy(counts: IntArray) -> FloatArray:
    """Return the share of the clips that are right, float64 (...); 0 without clips."""
    return np.asarray(_diagonal(counts).sum(axis=-1) / np.maximum(counts.sum(axis=(-2, -1)), 1))


MEASURES: dict[str, Callable[[IntArray], FloatArray]] = {
    "weighted_f1": weighted_f1,
    "macro_f1": macro_f1,
    "uar": uar,
    "accuracy": accuracy,
}


@dataclass(frozen=True)
class Confusion:
    """One confusion matrix and its scores.

    Attributes:
        counts: int64 (C, C), true classes in rows and predicted ones in columns.
    """

    counts: IntArray

    @classmethod
    def of(cls, true: IntArray, predicted: IntArray, classes: int) -> Confusion:
        """Count the pairs of true and predicted class indices, int64 (n,) each.

        Example:
            >>> Confusion.of(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), classes=2).counts.tolist()
            [[2, 0], [1, 1]]
        """
        return cls(np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes))

    @property
    def weighted_f1(self) -> float:
        """The weighted F1."""
        return float(weighted_f1(self.counts))

    @property
    def macro_f1(self) -> float:
        """The macro F1."""
        return float(macro_f1(self.counts))

    @property
    def uar(self) -> float:
        """The unweighted average recall."""
        return float(uar(self.counts))


def _met(counts: IntArray) -> IntArray:
    """Return how often each class occurs plus how often it is predicted, int64 (..., C)."""
    return np.asarray(counts.sum(axis=-2) + counts.sum(axis=-1))


def _diagonal(counts: IntArray) -> IntArray:
    return np.asarray(np.diagonal(counts, axis1=-2, axis2=-1))


def _mean_where(values: FloatArray, there: NDArray[np.bool_]) -> FloatArray:
    return np.asarray((values * there).sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))
