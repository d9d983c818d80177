"""The bootstrap over groups (Efron 1979): how much a score would vary with other speakers.

Clips of one speaker are alike, so whole groups are drawn and not clips: G out of G with replacement, R times. All
scores here are functions of the confusion matrix, and the confusion matrix of a resample is

    sum_g w_g N_g      N_g (C, C): the counts of group g;  w_g: how often the group is drawn

so all resamples are one matrix product. If no groups are known, clips are drawn. Predictions that are resampled
together get the same draws, so their differences are paired. The seed of the draws is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mer_pipeline.scores.confusion import FloatArray, IntArray

RESAMPLES, SEED = 2000, 0
FEW = 5  # with fewer groups than this, the variation between groups can't be estimated
BLOCK = 100  # the resamples that are drawn at once; with 10,000 groups they take 8 MB


@dataclass(frozen=True)
class Units:
    """The units that the bootstrap draws.

    Attributes:
        of: int64 (n,), the unit of each clip, from 0 to count - 1.
        count: the number of units.
        over: whether a unit is a group or a clip.
        caveat: a warning about intervals over these units, or "".
    """

    of: IntArray
    count: int
    over: Literal["groups", "clips"]
    caveat: str


def units_of(groups: Sequence[str]) -> Units:
    """Return the units for clips of these groups.

    The units are the groups. They are the clips themselves if no two clips share a group, or if all share one.

    Args:
        groups: the group of each clip.

    Example:
        >>> units = units_of(["ann", "bob", "ann"])
        >>> units.over, units.count, units.of.tolist()
        ('groups', 2, [0, 1, 0])
    """
    names, of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) in (1, len(groups)) or not len(groups):
        caveat = "no clips are known to share a group, so clips were resampled: too narrow where speakers recur"
        if len(names) == 1:
            caveat = "all clips are of one group, so clips were resampled: this says nothing about other speakers"
        return Units(np.arange(len(groups), dtype=np.int64), len(groups), "clips", caveat)
    few = f"{len(names)} groups are too few for their differences to be known: the interval is not worth much"
    return Units(of.astype(np.int64), len(names), "groups", few if len(names) < FEW else "")


def resample(
    true: IntArray,
    predictions: Sequence[IntArray],
    units: Units,
    classes: int,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> IntArray:
    """Return the confusion matrix of every resample, int64 (P, R, C, C), with true classes in rows.

    All P predictions get the same draws.

    Args:
        true: int64 (n,), the true class indices.
        predictions: P predictions, int64 (n,) each.
        units: the units of the n clips.
        classes: the number C of classes.
        resamples: the number R of resamples.
        seed: the seed of the draws.
    """
    cells, width = classes**2, len(predictions) * classes**2
    at = np.stack([p * cells + true * classes + one for p, one in enumerate(predictions)])
    random = np.random.default_rng(seed)
    if not units.count:
        counts = np.zeros((resamples, width))
    elif units.over == "clips":
        # Clips with the same label and predictions are of one kind. How often each kind is drawn is multinomial, which
        # is much faster than drawing clips.
        kinds, number = np.unique(at, axis=1, return_counts=True)
        times = random.multinomial(units.count, number / units.count, size=resamples)
        counts = times @ _own(kinds, np.arange(len(number)), len(number), width)
    else:
        own = _own(at, units.of, units.count, width)
        counts = np.concatenate([_times(random, units.count, rows) @ own for rows in _blocks(resamples)])
    return np.moveaxis(counts.astype(np.int64).reshape(resamples, len(predictions), classes, classes), 0, 1)


def times_drawn(units: Units, resamples: int = RESAMPLES, seed: int = SEED) -> Iterator[FloatArray]:
    """Yield how often each unit is drawn, float64 (rows, G), in blocks of resamples.

    This is for scores that are no functions of the confusion matrix. All calls get the same draws.
    """
    random = np.random.default_rng(seed)
    for rows in _blocks(resamples):
        yield _times(random, units.count, rows)


def middle(values: FloatArray) -> tuple[float, float]:
    """Return the middle 95 % of resampled values (the percentile interval), rounded to 6 digits.

    Example:
        >>> middle(np.arange(1001.0))
        (25.0, 975.0)
    """
    low, high = np.quantile(values, [0.025, 0.975])
    return round(float(low), 6), round(float(high), 6)


def two_sided(differences: FloatArray) -> float:
    """Return the two-sided p-value of "there is no difference" for resampled differences (R,), to 6 digits.

    It is twice the share of the differences on the rarer side of 0. One resample is added on either side (Davison &
    Hinkley 1997), so that the p-value is never 0.

    Example:
        >>> two_sided(np.ones(99))
        0.02
    """
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return round(min(1.0, 2 * (rarer + 1) / (len(differences) + 1)), 6)


def _own(at: IntArray, of: IntArray, count: int, width: int) -> FloatArray:
    """Return the counts of each unit, flattened to float64 (G, P C C).

    Integers below 2^53 are exact in float64, so their sums don't depend on the order.
    """
    return np.bincount((of * width + at).ravel(), minlength=count * width).reshape(count, width).astype(np.float64)


def _times(random: np.random.Generator, count: int, rows: int) -> FloatArray:
    """Return how often each unit is drawn in each resample, float64 (rows, G)."""
    drawn = random.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _blocks(resamples: int) -> list[int]:
    return [min(BLOCK, resamples - start) for start in range(0, resamples, BLOCK)]
