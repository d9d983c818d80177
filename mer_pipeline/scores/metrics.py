"""Scores of predicted labels, all derived from one confusion matrix in the fixed order of the classes.

They equal scikit-learn's (a test says so), but cost microseconds: early stopping asks once an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class Score(TypedDict):
    """SCORE of the metric files: mean over seeds, and the weighted F1's standard deviation (ddof 0)."""

    n: int
    weighted_f1: float
    macro_f1: float
    uar: float
    weighted_f1_sd: float


class ClassScore(TypedDict):
    """One class's line of the per-class table; `support` is how many clips truly are of it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Confusion:
    """Counts, rows true and columns predicted: int64 (C, C)."""

    counts: IntArray

    @classmethod
    def of(cls, true: IntArray, predicted: IntArray, classes: int) -> Confusion:
        """Count pairs of class indices, int64 (n,) each."""
        return cls(np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes))

    @property
    def support(self) -> IntArray:
        """Int64 (C,), true clips per class."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def precision(self) -> FloatArray:
        """Float64 (C,); 0 for a class that is never predicted."""
        return np.asarray(np.diag(self.counts) / np.maximum(self.counts.sum(axis=0), 1))

    @property
    def recall(self) -> FloatArray:
        """Float64 (C,); 0 for a class that does not occur."""
        return np.diag(self.counts) / np.maximum(self.support, 1)

    @property
    def f1(self) -> FloatArray:
        """Float64 (C,); 0 for a class that neither occurs nor is predicted."""
        return np.asarray(2 * np.diag(self.counts) / np.maximum(self.counts.sum(axis=0) + self.support, 1))

    @property
    def weighted_f1(self) -> float:
        """F1 averaged with the true counts as weights: the challenge's metric; 0 without clips."""
        return float(self.f1 @ self.support / max(int(self.support.sum()), 1))

    @property
    def macro_f1(self) -> float:
        """F1 averaged over the classes that occur or are predicted, as scikit-learn does."""
        met = self.counts.sum(axis=0) + self.support > 0
        return float(self.f1[met].mean()) if met.any() else 0.0

    @property
    def uar(self) -> float:
        """Unweighted average recall over the classes that occur."""
        met = self.support > 0
        return float(self.recall[met].mean()) if met.any() else 0.0


def score(true: IntArray, predicted: Sequence[IntArray], classes: int) -> Score:
    """SCORE of one prediction per seed against the same truth; floats to 6 digits."""
    each = [Confusion.of(true, one, classes) for one in predicted]
    weighted = [confusion.weighted_f1 for confusion in each]
    return {
        "n": len(true),
        "weighted_f1": _mean(weighted),
        "macro_f1": _mean([confusion.macro_f1 for confusion in each]),
        "uar": _mean([confusion.uar for confusion in each]),
        "weighted_f1_sd": round(float(np.std(weighted)), 6),
    }


def class_table(confusion: Confusion, classes: Sequence[str]) -> dict[str, ClassScore]:
    """The per-class table, in the order of the classes; floats to 6 digits."""
    return {
        name: {
            "precision": round(float(confusion.precision[c]), 6),
            "recall": round(float(confusion.recall[c]), 6),
            "f1": round(float(confusion.f1[c]), 6),
            "support": int(confusion.support[c]),
        }
        for c, name in enumerate(classes)
    }


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 6)
