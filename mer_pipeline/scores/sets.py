"""Scores of predicted sets of classes.

    AP_c      Σ_t (R_t - R_t-1) P_t over the distinct probabilities t of class c, the highest first: average precision
    mAP       mean of AP_c over the classes that occur
    macro F1  mean of the classes' F1 at their thresholds; micro F1: the F1 of all decisions together
    exact     the share of clips whose whole set is right

P_t and R_t are precision and recall where all clips with a probability of at least t are taken, so clips with equal
probabilities count at once, whatever their order. A constant probability has the AP n_c / n. A threshold is chosen by
the F1 of its class on clips of other folds.
"""

from __future__ import annotations

import numpy as np

from mer_pipeline.base.modalities import Indices, Mask, Matrix
from mer_pipeline.scores.bootstrap import RESAMPLES, Units, times_drawn
from mer_pipeline.scores.confusion import FloatArray

MOST_TERMS = 400_000_000  # clips times classes times resamples: more than this would take minutes
FEWEST = 200  # resamples


def average_precision(true: Mask, score: Matrix, weight: FloatArray | None = None) -> FloatArray:
    """Return the average precision of one class, float64 (R,) or a 0-dimensional array; 0 if the class does not occur.

    Args:
        true: bool (n,), whether a clip has the class.
        score: float32 (n,), its probabilities.
        weight: float64 (R, n), how often each clip counts in each of R resamples; None: once.

    Example:
        >>> float(average_precision(np.array([True, False, True]), np.array([0.9, 0.5, 0.5])).round(3))
        0.833
    """
    if not len(score):
        return np.zeros(() if weight is None else len(weight))
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # the last clip of each distinct score
    weights = np.ones(len(score)) if weight is None else weight[..., order]
    hits, taken = (each.cumsum(axis=-1)[..., last] for each in (weights * true[order], weights))
    precision = hits / np.maximum(taken, 1e-12)
    gained = np.diff(hits, axis=-1, prepend=0)
    return np.asarray((gained * precision).sum(axis=-1) / np.maximum(hits[..., -1], 1e-12))


def class_precisions(true: Matrix, probabilities: Matrix) -> FloatArray:
    """Return the average precision of each class, float64 (C,), for sets and probabilities, (n, C) each."""
    return np.array([average_precision(true[:, c] > 0, probabilities[:, c]) for c in range(true.shape[1])])


def mean_average_precision(true: Matrix, probabilities: Matrix) -> float:
    """Return the mAP of probabilities (n, C) for sets (n, C); 0 if no class occurs."""
    occurs = true.any(axis=0)
    return float(class_precisions(true, probabilities)[occurs].mean()) if occurs.any() else 0.0


def resampled_map(true: Matrix, probabilities: Matrix, units: Units) -> FloatArray:
    """Return the mAP in every resample, float64 (R,). With many clips and classes there are fewer resamples."""
    n, classes = true.shape
    resamples = min(RESAMPLES, max(FEWEST, MOST_TERMS // max(n * classes, 1)))
    found = []
    for times in times_drawn(units, resamples):
        weight = times[:, units.of]
        each = np.stack([average_precision(true[:, c] > 0, probabilities[:, c], weight) for c in range(classes)])
        occurs = weight @ true > 0
        found.append((each.T * occurs).sum(axis=1) / np.maximum(occurs.sum(axis=1), 1))
    return np.concatenate(found)


def best_thresholds(true: Matrix, probabilities: Matrix) -> FloatArray:
    """Return the threshold of each class with the highest F1, float64 (C,); 0.5 for a class that does not occur.

    A threshold lies in the middle between two probabilities that occur.

    Example:
        >>> best_thresholds(np.array([[1], [1], [0]]), np.array([[0.4], [0.3], [0.1]])).round(2).tolist()
        [0.2]
    """
    chosen = np.full(true.shape[1], 0.5)
    for c in np.flatnonzero(true.any(axis=0)):
        order = np.argsort(-probabilities[:, c], kind="stable")
        score = np.append(probabilities[order, c].astype(np.float64), 0.0)
        hits, taken = true[order, c].cumsum(), np.arange(1, len(order) + 1)
        f1 = np.where(score[:-1] > score[1:], 2 * hits / (taken + hits[-1]), -1.0)  # a tie cannot be cut
        at = int(f1.argmax())
        chosen[c] = (score[at] + score[at + 1]) / 2 if f1[at] > 0 else 0.5
    return chosen


def decided_out_of_fold(true: Matrix, probabilities: Matrix, fold: Indices) -> Mask:
    """Return the sets that thresholds give which are chosen without the fold of a clip, bool (n, C)."""
    decided = np.zeros(true.shape, dtype=bool)
    for f in np.unique(fold):
        inside = fold == f
        decided[inside] = probabilities[inside] >= best_thresholds(true[~inside], probabilities[~inside])
    return decided


def set_f1(true: Mask, decided: Mask) -> tuple[FloatArray, float]:
    """Return the F1 of each class, float64 (C,), and the micro F1 of all, for sets, bool (n, C) each."""
    hits, met = (true & decided).sum(axis=0), true.sum(axis=0) + decided.sum(axis=0)
    return np.asarray(2 * hits / np.maximum(met, 1)), float(2 * hits.sum() / max(int(met.sum()), 1))
