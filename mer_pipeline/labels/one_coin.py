"""The one-coin label model: family w is right with probability a_w, and if not, every wrong class is equally likely.

    E: q_ic is proportional to p_c prod_w (a_w if y_iw = c else (1 - a_w) / (C - 1))
    M: a_w = (sum_i q_{i, y_iw} + right) / (votes of w + right + (C - 1) wrong), p_c = mean_i q_ic, smoothed (em.py)

`right` and `wrong` are the pseudo-votes of dawid_skene.py. A family has one parameter here and C (C - 1) there. So this
model is the better choice for few clips, but it can't represent that a family confuses two particular classes.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.dawid_skene import PRIOR_RIGHT, PRIOR_WRONG, Step
from mer_pipeline.labels.em import Estimate, distinct, expand, iterate, smoothed_prior, softmax, vote_shares
from mer_pipeline.labels.votes import MISSING


def one_coin(matrix: NDArray[np.int64], classes: int, gold: NDArray[np.int64] | None = None) -> Estimate:
    """Fit the model by EM, starting from each clip's shares of the votes.

    Args:
        matrix: int64 (n, F) with n >= 1, the votes of F families on n clips, MISSING where there is none.
        classes: the number C of classes, at least 2.
        gold: int64 (n,), the classes that are known beyond doubt, MISSING elsewhere.
    """
    known = np.full(len(matrix), MISSING) if gold is None else gold
    found = distinct(matrix, known)
    rows = found.rows.astype(np.int64)
    said = (rows[:, :-1, None] == np.arange(classes)).astype(np.float64)
    start = vote_shares(rows[:, :-1], classes)
    return expand(iterate(start, rows[:, -1], partial(_step, said, found.weight)), found.back)


def _step(said: NDArray[np.float64], weight: NDArray[np.float64], posterior: NDArray[np.float64]) -> Step:
    classes = posterior.shape[1]
    prior = smoothed_prior((weight[:, None] * posterior).sum(axis=0))
    right = (said * posterior[:, None, :] * weight[:, None, None]).sum(axis=(0, 2)) + PRIOR_RIGHT
    total = (said * weight[:, None, None]).sum(axis=(0, 2)) + PRIOR_RIGHT + (classes - 1) * PRIOR_WRONG
    accuracy = right / total
    gain = np.log(accuracy * (classes - 1) / (1 - accuracy))  # log-likelihood ratio of the named class to any other
    log = np.log(prior) + (said * gain[:, None]).sum(axis=1)
    return prior, coins(accuracy, classes), softmax(log)


def coins(accuracy: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """Return the confusion matrices, float64 (F, C, C), of families with these accuracies (F,).

    Example:
        >>> coins(np.array([0.8]), classes=3).round(3).tolist()
        [[[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]]
    """
    wrong = ((1 - accuracy) / (classes - 1))[:, None, None]
    same = np.eye(classes, dtype=bool)
    return np.where(same, accuracy[:, None, None], wrong)
