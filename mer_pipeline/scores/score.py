"""Compute the figures of the metric files from probabilities: scores over seeds, intervals, and scores per class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mer_pipeline.base.modalities import Matrix
from mer_pipeline.metrics.scores import ClassScore, Counts, GroupedScore, Interval, Score
from mer_pipeline.scores.bootstrap import Units, middle, resample
from mer_pipeline.scores.calibration import brier, expected_calibration_error, log_loss
from mer_pipeline.scores.confusion import Confusion, IntArray, class_f1, class_precision, class_recall, weighted_f1


def score(true: IntArray, said: Sequence[Matrix]) -> Score:
    """Return the mean scores of several predictions of the same clips, rounded to 6 digits.

    Args:
        true: int64 (n,), the class indices to score against.
        said: for each seed the probabilities, float32 (n, C).
    """
    each = [Confusion.of(true, one.argmax(axis=1), one.shape[1]) for one in said]
    weighted = [confusion.weighted_f1 for confusion in each]
    return Score(
        n=len(true),
        weighted_f1=_mean(weighted),
        macro_f1=_mean([confusion.macro_f1 for confusion in each]),
        uar=_mean([confusion.uar for confusion in each]),
        weighted_f1_sd=round(float(np.std(weighted)), 6),
        log_loss=_mean([log_loss(one, true) for one in said]),
        ece=_mean([expected_calibration_error(one, true) for one in said]),
        brier=_mean([brier(one, true) for one in said]),
    )


def grouped_score(true: IntArray, said: Sequence[Matrix], units: Units) -> GroupedScore:
    """Return the same scores as `score`, with the interval of the mean weighted F1 over resamples of the units."""
    drawn = resample(true, [one.argmax(axis=1) for one in said], units, said[0].shape[1])
    low, high = middle(weighted_f1(drawn).mean(axis=0))
    interval = Interval(low=low, high=high, over=units.over, n=units.count)
    return GroupedScore(**dict(score(true, said)), interval=interval)


def class_table(confusion: Confusion, classes: Sequence[str]) -> dict[str, ClassScore]:
    """Return the scores of each class, in the order of the classes, rounded to 6 digits."""
    measures = (measure(confusion.counts).tolist() for measure in (class_precision, class_recall, class_f1))
    rows = zip(classes, *measures, confusion.counts.sum(axis=1).tolist(), strict=True)
    return {
        name: ClassScore(precision=round(precision, 6), recall=round(recall, 6), f1=round(f1, 6), support=support)
        for name, precision, recall, f1, support in rows
    }


def count_table(confusion: Confusion) -> Counts:
    """Return the confusion matrix as nested tuples, for a metric file."""
    return tuple(tuple(row) for row in confusion.counts.tolist())


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 6)
