"""Temper the posteriors of the votes by gold labels, where there are any.

    p_T = softmax(log p / T)        log T = g / (g + SHRINK) log T_gold

T_gold minimises the cross-entropy on the g clips with a gold label (Guo et al. 2017), whose posteriors are taken as if
their own gold were not known. With few gold labels T stays near 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.em import TINY, softmax
from mer_pipeline.labels.votes import MISSING

SHRINK = 20.0  # the number of gold labels at which T is half (in its logarithm) what they say
BOUNDS = (-3.0, 3.0)  # of log T_gold, for gold labels that are all as believed, or as if by chance


def temper_by_gold(blind: NDArray[np.float64], gold: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Return the tempered posteriors, float64 (n, C), and the temperature T.

    Args:
        blind: float64 (n, C), the posterior of each clip without its own gold label.
        gold: int64 (n,), MISSING where there is none.

    Example:
        Of 200 clips that are believed at .9, three in four are right:

        >>> blind, gold = np.array([[0.9, 0.1]] * 200), np.array([0, 0, 0, 1] * 50)
        >>> round(temper_by_gold(blind, gold)[1], 1)
        1.9
    """
    from scipy.optimize import minimize_scalar

    count = int((gold != MISSING).sum())
    if not count:
        return blind, 1.0
    log = np.log(np.maximum(blind, TINY))
    at, label = np.flatnonzero(gold != MISSING), gold[gold != MISSING]

    def loss(log_temperature: float) -> float:
        said = softmax(log[at] / math.exp(log_temperature))[np.arange(count), label]
        return -float(np.sort(np.log(np.maximum(said, TINY))).sum())  # sorted: the order of the clips must not matter

    found = float(minimize_scalar(loss, bounds=BOUNDS, method="bounded").x)
    temperature = math.exp(found * count / (count + SHRINK))
    return softmax(log / temperature), temperature
