"""Whether one run's predictions are better than another's on the same clips: a paired bootstrap over groups.

Both runs meet the same resamples, so what makes a speaker easy or hard for both cancels in the difference. It is told
for these predictions: how much another seed would change them is not in it.
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
    """A score of both runs, B's less A's, and the middle 95 % of that over resamples."""

    a: float
    b: float
    difference: float
    low: float
    high: float


class Right(Figures):
    """Clips by who gets them right."""

    both: int
    only_a: int
    only_b: int
    neither: int


class Paired(Figures):
    """Two runs on n clips; floats to 6 digits.

    `b_better` is the share of resamples where B's weighted F1 is the higher one, `p` the two-sided p-value of equal
    weighted F1.
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
    """Compare two predictions, int64 (n,) class indices each."""
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
    """Of the values of A and B (2,), and those of each resample (2, R)."""
    a, b = (float(value) for value in both)
    low, high = middle(resampled[1] - resampled[0])
    return Difference(a=round(a, 6), b=round(b, 6), difference=round(b - a, 6), low=low, high=high)
