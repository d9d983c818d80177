"""Scores of predicted labels: every one is a function of the confusion matrix, and this is the only place that has it.

    N (..., C, C)   counts, rows true and columns predicted, in the order of the classes
    n_c = Σ_k N_ck                               true clips of class c
    F1_c = 2 N_cc / (n_c + Σ_k N_kc)             0 for a class that neither occurs nor is predicted
    weighted F1 = Σ_c n_c F1_c / Σ_c n_c         the challenge's measure

The functions take one matrix or many at once, as the bootstrap has them. All are as in scikit-learn (a test compares),
but cost microseconds: early stopping asks once an epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def class_precision(counts: IntArray) -> FloatArray:
    """Float64 (..., C) of counts (..., C, C); 0 for a class that is never predicted."""
    return np.asarray(_diagonal(counts) / np.maximum(counts.sum(axis=-2), 1))


def class_recall(counts: IntArray) -> FloatArray:
    """Float64 (..., C) of counts (..., C, C); 0 for a class that does not occur."""
    return np.asarray(_diagonal(counts) / np.maximum(counts.sum(axis=-1), 1))


def class_f1(counts: IntArray) -> FloatArray:
    """Float64 (..., C) of counts (..., C, C); 0 for a class that neither occurs nor is predicted."""
    return np.asarray(2 * _diagonal(counts) / np.maximum(_met(counts), 1))


def weighted_f1(counts: IntArray) -> FloatArray:
    """F1 averaged with the true counts as weights, float64 (...); 0 without clips."""
    support = counts.sum(axis=-1)
    return np.asarray((class_f1(counts) * support).sum(axis=-1) / np.maximum(support.sum(axis=-1), 1))


def macro_f1(counts: IntArray) -> FloatArray:
    """F1 averaged over the classes that occur or are predicted, float64 (...); 0 without clips."""
    return _mean_where(class_f1(counts), _met(counts) > 0)


def uar(counts: IntArray) -> FloatArray:
    """Unweighted average recall over the classes that occur, float64 (...); 0 without clips."""
    return _mean_where(class_recall(counts), counts.sum(axis=-1) > 0)


def accuracy(counts: IntArray) -> FloatArray:
    """Share of the clips that are right, float64 (...); 0 without clips."""
    return np.asarray(_diagonal(counts).sum(axis=-1) / np.maximum(counts.sum(axis=(-2, -1)), 1))


MEASURES: dict[str, Callable[[IntArray], FloatArray]] = {
    "weighted_f1": weighted_f1,
    "macro_f1": macro_f1,
    "uar": uar,
    "accuracy": accuracy,
}


@dataclass(frozen=True)
class Confusion:
    """One matrix of counts, int64 (C, C), and its scores."""

    counts: IntArray

    @classmethod
    def of(cls, true: IntArray, predicted: IntArray, classes: int) -> Confusion:
        """Count pairs of class indices, int64 (n,) each."""
        return cls(np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes))

    @property
    def weighted_f1(self) -> float:
        """See the function."""
        return float(weighted_f1(self.counts))

    @property
    def macro_f1(self) -> float:
        """See the function."""
        return float(macro_f1(self.counts))

    @property
    def uar(self) -> float:
        """See the function."""
        return float(uar(self.counts))


def _met(counts: IntArray) -> IntArray:
    """How often each class occurs or is predicted, both counted: int64 (..., C)."""
    return np.asarray(counts.sum(axis=-2) + counts.sum(axis=-1))


def _diagonal(counts: IntArray) -> IntArray:
    return np.asarray(np.diagonal(counts, axis1=-2, axis2=-1))


def _mean_where(values: FloatArray, there: NDArray[np.bool_]) -> FloatArray:
    return np.asarray((values * there).sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))
