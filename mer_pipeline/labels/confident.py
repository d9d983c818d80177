"""Confident learning (Northcutt, Jiang & Chuang 2021): find given labels that a classifier doubts.

The threshold of class j is t_j, the mean of the probabilities p_ij over the rows i that are labelled j. A row counts
for the class whose threshold its probability reaches, and if there are several, for the most probable of them. A row is
flagged if it counts for another class than its label and its label is not its most probable class.

The probabilities must be out of fold, because a classifier learns the errors of the labels that it was trained on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.votes import MISSING

NEARLY = 1e-6  # a probability this little below its threshold still reaches it, because float32 values are stored


def thresholds(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the thresholds t_j, float64 (C,); infinity for a class that no row is labelled with.

    Args:
        probabilities: float64 (n, C), out of fold.
        given: int64 (n,), the given labels.
    """
    classes = probabilities.shape[1]
    count = np.bincount(given, minlength=classes)
    total = np.bincount(given, probabilities[np.arange(len(given)), given], classes)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def confident_class(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class that each row counts for, int64 (n,); MISSING where it reaches no threshold.

    Args:
        probabilities: float64 (n, C), out of fold.
        given: int64 (n,), the given labels.
    """
    reached = probabilities >= thresholds(probabilities, given) - NEARLY
    best = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), best, MISSING)


def confident_joint(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the confident joint, int64 (C, C): at [j, k], how many rows labelled j count for class k.

    Args:
        probabilities: float64 (n, C), out of fold.
        given: int64 (n,), the given labels.
    """
    classes = probabilities.shape[1]
    counted = confident_class(probabilities, given)
    sure = counted != MISSING
    pairs = given[sure] * classes + counted[sure]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def suspects(probabilities: NDArray[np.float64], given: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the class that each flagged row counts for, int64 (n,); MISSING where a row is not flagged.

    Args:
        probabilities: float64 (n, C), out of fold.
        given: int64 (n,), the given labels.

    Example:
        The third row is labelled 0, but its probability of class 1 reaches the threshold of class 1:

        >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
        >>> suspects(probabilities, given=np.array([0, 0, 0, 1])).tolist()
        [-1, -1, 1, -1]
    """
    counted = confident_class(probabilities, given)
    at_label = probabilities[np.arange(len(given)), given]
    flagged = (counted != MISSING) & (counted != given) & (at_label < probabilities.max(axis=1))
    return np.where(flagged, counted, MISSING)
