"""Dawid & Skene (1979): every family has a confusion matrix of its own.

E: q_ic proportional to p_c prod_w pi^w_{c, y_iw}, a missing vote being no factor;
M: pi^w_{ck} = (sum_i q_ic [y_iw = k] + a_ck) / sum_k(...), p_c = mean_i q_ic.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.em import (
    MAX_ITERATIONS,
    TINY,
    TOLERANCE,
    Estimate,
    distinct,
    expand,
    iterate,
    softmax,
    vote_shares,
)
from mer_pipeline.labels.votes import MISSING

# Dirichlet pseudo-votes per true class and family: right, and each of the wrong labels. They keep a rare class's
# confusion from being learnt off two clips; against hundreds of clips they do not matter.
PRIOR_RIGHT = 4.0
PRIOR_WRONG = 0.5

Step = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def dawid_skene(
    matrix: NDArray[np.int64],
    classes: int,
    gold: NDArray[np.int64] | None = None,
    *,
    right: float = PRIOR_RIGHT,
    wrong: float = PRIOR_WRONG,
    iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Estimate:
    """EM in log space from the shares of the votes, with a Dirichlet prior on each row of each confusion matrix.

    Args:
        matrix: int64 (n, F) votes, MISSING where there is none; n of at least 1.
        classes: C.
        gold: int64 (n,) classes that are known, MISSING elsewhere.
        right: pseudo-votes a_cc.
        wrong: pseudo-votes a_ck for k other than c; both 0 for the textbook without a prior.
        iterations: at most.
        tolerance: EM ends where no posterior moves by as much.
    """
    known = np.full(len(matrix), MISSING) if gold is None else gold
    found = distinct(matrix, known)
    rows = found.rows.astype(np.int64)
    start = vote_shares(rows[:, :-1], classes)
    estimate = weighted_dawid_skene(
        rows[:, :-1], found.weight, rows[:, -1], start, (right, wrong), iterations, tolerance
    )
    return expand(estimate, found.back)


def weighted_dawid_skene(
    matrix: NDArray[np.int64],
    weight: NDArray[np.float64],
    gold: NDArray[np.int64],
    start: NDArray[np.float64],
    pseudo_votes: tuple[float, float] = (PRIOR_RIGHT, PRIOR_WRONG),
    iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Estimate:
    """The same where row i stands for `weight[i]` clips, from a posterior (m, C) to start at."""
    right, wrong = pseudo_votes
    classes = start.shape[1]
    pseudo = np.full((classes, classes), wrong) + np.eye(classes) * (right - wrong)
    votes = np.where(matrix == MISSING, classes, matrix)  # a column of its own for the missing
    return iterate(start, gold, partial(_step, votes, weight, pseudo), iterations, tolerance)


def _step(
    votes: NDArray[np.int64], weight: NDArray[np.float64], pseudo: NDArray[np.float64], posterior: NDArray[np.float64]
) -> Step:
    """M, then E. Sums by bincount, one after the other: a BLAS splits them by thread, and their rounding with them."""
    families, classes = votes.shape[1], len(pseudo)
    mass = (posterior * weight[:, None]).T.copy()  # (C, m)
    prior = mass.sum(axis=1) / weight.sum()
    counts = np.array(
        [[np.bincount(votes[:, w], mass[c], classes + 1)[:classes] for c in range(classes)] for w in range(families)]
    )
    counts += pseudo
    confusion = counts / np.maximum(counts.sum(axis=2, keepdims=True), TINY)
    log = np.zeros((families, classes + 1, classes))
    log[:, :classes] = np.log(np.maximum(confusion, TINY)).transpose(0, 2, 1)
    total = np.log(np.maximum(prior, TINY)) + log[0][votes[:, 0]]
    for w in range(1, families):
        total += log[w][votes[:, w]]
    return prior, confusion, softmax(total)
