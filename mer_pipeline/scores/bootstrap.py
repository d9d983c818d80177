"""How far a score may be off by the luck of who was recorded: the bootstrap over groups (Efron 1979).

Clips of one speaker are alike, so whole speakers are drawn, not clips: G out of G with replacement, R times. Every
score here is a function of the confusion matrix, and that of a resample is

    sum_g w_g N_g      N_g (C, C) the group's own counts, w_g how often it was drawn,

so all resamples are one product. Where no groups are known, clips are drawn. Predictions that are resampled together
meet the same draws: their differences are paired. The draws are those of a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mer_pipeline.scores.confusion import FloatArray, IntArray

RESAMPLES, SEED = 2000, 0
FEW = 5  # fewer groups than this cannot tell how different groups are
BLOCK = 100  # resamples that are drawn at once: 10,000 groups then take 8 MB


@dataclass(frozen=True)
class Units:
    """What is drawn.

    Attributes:
        of: int64 (n,), the unit of each clip, 0..count-1.
        count: how many there are.
        over: what a unit is.
        caveat: what a reader of an interval over them must know, or "".
    """

    of: IntArray
    count: int
    over: Literal["groups", "clips"]
    caveat: str


def units_of(groups: Sequence[str]) -> Units:
    """What to draw of clips of these groups: the clips themselves where no two share a group, or all share one."""
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
    """The confusion matrix of every resample: int64 (P, R, C, C), rows true, the same draws for all P predictions.

    Args:
        true: int64 (n,), class indices.
        predictions: P times int64 (n,).
        units: of the n clips.
        classes: C.
        resamples: R.
        seed: of the draws.
    """
    cells, width = classes**2, len(predictions) * classes**2
    at = np.stack([p * cells + true * classes + one for p, one in enumerate(predictions)])
    random = np.random.default_rng(seed)
    if not units.count:
        counts = np.zeros((resamples, width))
    elif units.over == "clips":
        # Clips with the same answers are the same: how often each kind is drawn is multinomial, and quick.
        kinds, number = np.unique(at, axis=1, return_counts=True)
        times = random.multinomial(units.count, number / units.count, size=resamples)
        counts = times @ _own(kinds, np.arange(len(number)), len(number), width)
    else:
        own = _own(at, units.of, units.count, width)
        counts = np.concatenate([_times(random, units.count, rows) @ own for rows in _blocks(resamples)])
    return np.moveaxis(counts.astype(np.int64).reshape(resamples, len(predictions), classes, classes), 0, 1)


def middle(values: FloatArray) -> tuple[float, float]:
    """The middle 95 % of resampled values (the percentile interval), to 6 digits."""
    low, high = np.quantile(values, [0.025, 0.975])
    return round(float(low), 6), round(float(high), 6)


def two_sided(differences: FloatArray) -> float:
    """How often resampled differences (R,) lie on the rarer side of 0, twice: a p-value of "there is none".

    Counted with one more resample on either side (Davison & Hinkley 1997), so that it is never 0.
    """
    rarer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return round(min(1.0, 2 * (rarer + 1) / (len(differences) + 1)), 6)


def _own(at: IntArray, of: IntArray, count: int, width: int) -> FloatArray:
    """Each unit's counts, flat: float64 (G, P C C). Whole numbers below 2^53 add up exactly in any order."""
    return np.bincount((of * width + at).ravel(), minlength=count * width).reshape(count, width).astype(np.float64)


def _times(random: np.random.Generator, count: int, rows: int) -> FloatArray:
    """How often each unit was drawn: float64 (rows, G)."""
    drawn = random.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def _blocks(resamples: int) -> list[int]:
    return [min(BLOCK, resamples - start) for start in range(0, resamples, BLOCK)]
