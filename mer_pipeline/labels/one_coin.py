"""One coin: every family is right with one probability a_w, and else names any wrong class alike.

E: q_ic proportional to p_c prod_w (a_w if y_iw = c else (1 - a_w) / (C - 1));
M: a_w = (sum_i q_{i, y_iw} + right) / (votes of w + right + (C - 1) wrong), p_c = mean_i q_ic.

C - 1 parameters fewer per class than Dawid-Skene: the better choice for few clips, and blind to a source's habits.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.dawid_skene import PRIOR_RIGHT, PRIOR_WRONG, Step
from mer_pipeline.labels.em import TINY, Estimate, distinct, expand, iterate, softmax, vote_shares
from mer_pipeline.labels.votes import MISSING


def one_coin(matrix: NDArray[np.int64], classes: int, gold: NDArray[np.int64] | None = None) -> Estimate:
    """EM from the shares of the votes; arguments as `dawid_skene`, `classes` of at least 2."""
    known = np.full(len(matrix), MISSING) if gold is None else gold
    found = distinct(matrix, known)
    rows = found.rows.astype(np.int64)
    said = (rows[:, :-1, None] == np.arange(classes)).astype(np.float64)
    start = vote_shares(rows[:, :-1], classes)
    return expand(iterate(start, rows[:, -1], partial(_step, said, found.weight)), found.back)


def _step(said: NDArray[np.float64], weight: NDArray[np.float64], posterior: NDArray[np.float64]) -> Step:
    classes = posterior.shape[1]
    prior = (weight[:, None] * posterior).sum(axis=0) / weight.sum()
    right = (said * posterior[:, None, :] * weight[:, None, None]).sum(axis=(0, 2)) + PRIOR_RIGHT
    total = (said * weight[:, None, None]).sum(axis=(0, 2)) + PRIOR_RIGHT + (classes - 1) * PRIOR_WRONG
    accuracy = right / total
    gain = np.log(accuracy * (classes - 1) / (1 - accuracy))  # of the class that is named over any other
    log = np.log(np.maximum(prior, TINY)) + (said * gain[:, None]).sum(axis=1)
    return prior, coins(accuracy, classes), softmax(log)


def coins(accuracy: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """Float64 (F, C, C): the confusion matrices of such families."""
    wrong = ((1 - accuracy) / (classes - 1))[:, None, None]
    same = np.eye(classes, dtype=bool)
    return np.where(same, accuracy[:, None, None], wrong)
