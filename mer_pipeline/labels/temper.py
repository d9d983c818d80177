"""Temper the posteriors of the votes by gold labels, where there are any.

    p_T = softmax(log p / T)        log T = g / (g + SHRINK) log T_gold

T_gold minimises the cross-entropy on the g clips with a gold label, whose posteriors are taken as if their own gold
were not known (scores/calibration.py). With few gold labels T stays near 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.em import TINY, softmax
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.calibration import fit_temperature

SHRINK = 20.0  # the number of gold labels at which T is half (in its logarithm) what they say


def temper_by_gold(blind: NDArray[np.float64], gold: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Return the tempered posteriors, float64 (n, C), and the temperature T.

    Args:
        blind: float64 (n, C), the posterior of each clip without its own gold label.
        gold: int64 (n,), MISSING where there is none.
    """
    known = gold != MISSING
    count = int(known.sum())
    if not count:
        return blind, 1.0
    order = np.lexsort((gold[known], *blind[known].T))  # no sum may depend on the order of the clips
    found = fit_temperature(blind[known][order].astype(np.float32), gold[known][order])
    temperature = float(found ** (count / (count + SHRINK)))
    return softmax(np.log(np.maximum(blind, TINY)) / temperature), temperature
