"""The objective of each kind of target: what the values that a head gives mean, and by which figure they are judged.

    class        p = softmax(v)         weighted F1 of the most probable class
    multilabel   p_c = sigmoid(v_c)     mAP (mean average precision)
    regression   y = v                  mean CCC over the dimensions

In regression, heads learn standardised numbers (`Standard`), and a member undoes the standardisation. CCC does not
change if labels and predictions are scaled alike, so early stopping may judge standardised numbers. The losses, which
need torch, are in losses.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from mer_pipeline.base.kind import Kind
from mer_pipeline.base.modalities import Matrix
from mer_pipeline.heads.linear import log_softmax
from mer_pipeline.scores.confusion import Confusion, IntArray
from mer_pipeline.scores.numbers import ccc, moments
from mer_pipeline.scores.sets import mean_average_precision

ALL_KINDS: frozenset[Kind] = frozenset({"class", "multilabel", "regression"})
FLOOR = 1e-12  # the least probability before a logarithm
FIGURES = {"class": "weighted F1", "multilabel": "mAP", "regression": "CCC"}  # their names for people


@dataclass(frozen=True)
class Standard:
    """The standardisation (y - mean) / scale of the numbers that are learnt, float32 (D,) each.

    Example:
        >>> own = Standard.fit(np.array([[1.0], [3.0]], dtype=np.float32))
        >>> own.apply(np.array([[3.0]])).tolist(), own.undo(np.array([[1.0]])).tolist()
        ([[1.0]], [[3.0]])
    """

    mean: Matrix
    scale: Matrix

    @classmethod
    def fit(cls, values: Matrix) -> Self:
        """Return the standardisation for these numbers, float32 (n, D); a dimension that is constant is only moved."""
        mean, scale = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
        return cls(mean.astype(np.float32), np.where(scale > 0, scale, 1).astype(np.float32))

    def apply(self, values: Matrix) -> Matrix:
        """Return the standardised numbers, float32 (n, D)."""
        return np.asarray((values - self.mean) / self.scale, dtype=np.float32)

    def undo(self, values: Matrix) -> Matrix:
        """Return numbers in their own units, float32 (n, D)."""
        return np.asarray(values * self.scale + self.mean, dtype=np.float32)


def meaning(kind: Kind, values: Matrix) -> Matrix:
    """Return what the values of a head, float32 (n, C), mean: probabilities, or the same numbers."""
    if kind == "class":
        return np.asarray(np.exp(log_softmax(values)))
    if kind == "multilabel":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * values)))  # the sigmoid, without overflow
    return values


def values_of(kind: Kind, outputs: Matrix) -> Matrix:
    """Return the values that mean these outputs; `meaning` is its inverse.

    Example:
        >>> p = np.array([[0.25, 0.75]])
        >>> [meaning(kind, values_of(kind, p)).round(2).tolist() for kind in ("class", "multilabel")]
        [[[0.25, 0.75]], [[0.25, 0.75]]]
    """
    if kind == "regression":
        return outputs
    logs = np.log(np.maximum(outputs, FLOOR))
    return np.asarray(logs if kind == "class" else logs - np.log(np.maximum(1 - outputs, FLOOR)))


def figure(kind: Kind, label: IntArray, target: Matrix, outputs: Matrix) -> float:
    """Return the figure that predictions are judged by; the higher, the better.

    Args:
        kind: the kind of target.
        label: int64 (n,), the classes; only used for classes.
        target: float32 (n, C), what was to be predicted; used for the other kinds.
        outputs: float32 (n, C), the predictions: probabilities or numbers. For classes, only their order counts.
    """
    if kind == "class":
        return Confusion.of(label, outputs.argmax(axis=1), outputs.shape[1]).weighted_f1
    if kind == "multilabel":
        return mean_average_precision(target, outputs)
    return float(ccc(moments(target, outputs).sum(axis=0)).mean())
