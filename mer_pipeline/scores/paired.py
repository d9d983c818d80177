"""Compare the predictions of two runs on the same clips by a paired bootstrap over groups.

Both runs get the same resamples, so the difficulty that a speaker has for both cancels in the difference. The result
holds for these predictions only: it doesn't include how much other seeds would change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mer_pipeline.base.modalities import Indices
from mer_pipeline.metrics.base import Figures
from mer_pipeline.scores.bootstrap import RESAMPLES, middle, resample, two_sided, units_of
from mer_pipeline.scores.confusion import MEASURES, Confusion, FloatArray, class_f1


class Difference(Figures):
    """One score of both runs, the difference B minus A, and the middle 95 % of the difference over resamples."""

    a: float
    b: float
    difference: float
    low: float
    high: float


class Right(Figures):
    """The number of clips that both runs, only one of them, or neither predicts correctly."""

    both: int
    only_a: int
    only_b: int
    neither: int


class Paired(Figures):
    """The comparison of two runs A and B on n clips, with floats rounded to 6 digits.

    Attributes:
        n: the number of clips.
        over: whether groups or clips are drawn.
        units: the number of groups or clips that are drawn.
        resamples: the number of resamples.
        caveat: a warning about intervals over these units, or "".
        scores: each score of both runs, by its name.
        per_class: the F1 of both runs, by class.
        b_better: the share of resamples in which B has the higher weighted F1.
        p: the two-sided p-value of "both have the same weighted F1".
        right: the number of clips that the runs predict correctly.
    """

    n: int
    over: Literal["groups", "clips"]
    units: int
    resamples: int
    caveat: str
    scores: dict[str, Difference]
    per_class: dict[str, Difference]
    b_better: float
    p: float
    right: Right


def paired(true: Indices, a: Indices, b: Indices, groups: Sequence[str], classes: Sequence[str]) -> Paired:
    """Compare two predictions.

    Args:
        true: int64 (n,), the true class indices.
        a: int64 (n,), the class indices that run A predicts.
        b: int64 (n,), the class indices that run B predicts.
        groups: the group of each clip.
        classes: the classes, in order.
    """
    units = units_of(groups)
    drawn = resample(true, [a, b], units, len(classes))
    whole = np.stack([Confusion.of(true, one, len(classes)).counts for one in (a, b)])
    resampled = {name: measure(drawn) for name, measure in MEASURES.items()}
    f1, f1_drawn = class_f1(whole), class_f1(drawn)
    by = resampled["weighted_f1"][1] - resampled["weighted_f1"][0]
    right_a, right_b = a == true, b == true
    return Paired(
        n=len(true),
        over=units.over,
        units=units.count,
        resamples=RESAMPLES,
        caveat=units.caveat,
        scores={name: _difference(measure(whole), resampled[name]) for name, measure in MEASURES.items()},
        per_class={name: _difference(f1[:, c], f1_drawn[:, :, c]) for c, name in enumerate(classes)},
        b_better=round(float((by > 0).mean()), 6),
        p=two_sided(by),
        right=Right(
            both=int((right_a & right_b).sum()),
            only_a=int((right_a & ~right_b).sum()),
            only_b=int((~right_a & right_b).sum()),
            neither=int((~right_a & ~right_b).sum()),
        ),
    )


def _difference(both: FloatArray, resampled: FloatArray) -> Difference:
    """Return the difference for the values of A and B (2,) and their values in each resample (2, R)."""
    a, b = (float(value) for value in both)
    low, high = middle(resampled[1] - resampled[0])
    return Difference(a=round(a, 6), b=round(b, 6), difference=round(b - a, 6), low=low, high=high)
