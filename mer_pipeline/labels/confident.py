"""Confident learning (Northcutt, Jiang & Chuang 2021): given labels that a classifier is confident are another class.

A class's threshold is how sure the classifier is of it where people say it: t_j = mean p_ij over the rows labelled j.
A row counts for the class whose threshold its probability reaches (of several, the most probable); a row that counts
for another class than it is labelled, and whose most probable class is not its label either, is flagged.

The probabilities have to be out of fold: a classifier has learnt the errors of the labels that it was trained on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.votes import MISSING

NEARLY = 1e-6  # a probability that is so little below its threshold reaches it: float32 is stored


def thresholds(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """Float64 (C,): t_j; infinity for a class that no row is labelled with.

    Args:
        probabilities: float64 (n, C), out of fold.
        given: int64 (n,), the labels.
    """
    classes = probabilities.shape[1]
    count = np.bincount(given, minlength=classes)
    total = np.bincount(given, probabilities[np.arange(len(given)), given], classes)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def confident_class(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.int64]:
    """Int64 (n,): the class that each row counts for, MISSING where it reaches no threshold. Arguments as above."""
    reached = probabilities >= thresholds(probabilities, given) - NEARLY
    best = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), best, MISSING)


def confident_joint(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.int64]:
    """Int64 (C, C): how many rows labelled j count for k, at [j, k]. Arguments as above."""
    classes = probabilities.shape[1]
    counted = confident_class(probabilities, given)
    sure = counted != MISSING
    pairs = given[sure] * classes + counted[sure]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def suspects(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.int64]:
    """Int64 (n,): the class that a flagged row counts for, MISSING where the label is not flagged."""
    counted = confident_class(probabilities, given)
    at_label = probabilities[np.arange(len(given)), given]
    flagged = (counted != MISSING) & (counted != given) & (at_label < probabilities.max(axis=1))
    return np.where(flagged, counted, MISSING)
