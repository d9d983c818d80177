"""The baselines of a score: what is had without looking at a clip, from the labels of the training clips alone.

    majority   every clip gets the most frequent class
    prior      every clip gets a class that is drawn by its share p_k, or the shares themselves as probabilities

A class k is drawn for n_c p_k clips of the true class c on average. F1 and UAR of the prior are those of these counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mer_pipeline.base.modalities import Indices, Matrix
from mer_pipeline.metrics.scores import Baselines, Blind
from mer_pipeline.scores.calibration import brier, log_loss
from mer_pipeline.scores.confusion import Confusion

PARTS = 1_000_000  # expected counts are in millionths, because counts are integers; no score depends on it


def shares(label: Indices, classes: int) -> Matrix:
    """Return each class's share of the labels, float32 (C,); equal shares without labels.

    Example:
        >>> shares(np.array([0, 0, 1, 0]), 2).tolist()
        [0.75, 0.25]
    """
    if not len(label):
        return np.full(classes, 1 / classes, np.float32)
    return (np.bincount(label, minlength=classes) / len(label)).astype(np.float32)


def shares_without_fold(label: Indices, fold: Indices, classes: int) -> Matrix:
    """Return for each clip the shares of the classes in the other folds, float32 (n, C), as its head has seen them."""
    found = np.zeros((len(label), classes), np.float32)
    for f in np.unique(fold):
        found[fold == f] = shares(label[fold != f], classes)
    return found


def baselines(true: Indices, prior: Matrix, classes: Sequence[str]) -> Baselines:
    """Return the baselines of scores against some labels.

    Args:
        true: int64 (n,), the class indices to score against.
        prior: float32 (n, C), for each clip the shares of the classes among the training labels.
        classes: the C classes, in order.

    Example:
        >>> found = baselines(np.array([0, 0, 1, 0]), np.tile(np.float32([0.75, 0.25]), (4, 1)), ["calm", "sad"])
        >>> found.label, found.majority.weighted_f1, found.prior.weighted_f1
        ('calm', 0.642857, 0.625)
    """
    count = len(classes)
    named = Confusion.of(true, prior.argmax(axis=1), count)
    expected = np.zeros((count, count))
    np.add.at(expected, true, prior.astype(np.float64))
    drawn = Confusion((PARTS * expected).round().astype(np.int64))
    return Baselines(
        label=classes[int(prior.sum(axis=0).argmax())],
        majority=_blind(named, None, None),
        prior=_blind(drawn, log_loss(prior, true), brier(prior, true)),
    )


def best_blind(found: Baselines) -> float:
    """Return the higher weighted F1 of both baselines."""
    return max(found.majority.weighted_f1, found.prior.weighted_f1)


def _blind(confusion: Confusion, loss: float | None, squared: float | None) -> Blind:
    return Blind(
        weighted_f1=round(confusion.weighted_f1, 6),
        macro_f1=round(confusion.macro_f1, 6),
        uar=round(confusion.uar, 6),
        log_loss=None if loss is None else round(loss, 6),
        brier=None if squared is None else round(squared, 6),
    )
