"""The label model of Dawid & Skene (1979): every family has a confusion matrix of its own.

EM alternates two steps. q_ic is the posterior that clip i is of class c, p_c the prior, y_iw the vote of family w on
clip i, pi^w_{ck} the probability that family w votes k on a clip of class c, and a_ck a pseudo-count:

    E: q_ic is proportional to p_c prod_w pi^w_{c, y_iw}; a missing vote contributes no factor
    M: pi^w_{ck} = (sum_i q_ic [y_iw = k] + a_ck) / sum_k(...), p_c = mean_i q_ic
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

# Dirichlet pseudo-votes per true class and family, for the right label and for each wrong one. Without them the
# confusion of a rare class would be estimated from two clips; beside hundreds of clips they make no difference.
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
    """Fit the model by EM, with a Dirichlet prior on each row of each confusion matrix.

    EM works with logarithms and starts from each clip's shares of the votes.

    Args:
        matrix: int64 (n, F) with n >= 1, the votes of F families on n clips, MISSING where there is none.
        classes: the number C of classes.
        gold: int64 (n,), the classes that are known beyond doubt, MISSING elsewhere.
        right: the pseudo-votes a_cc.
        wrong: the pseudo-votes a_ck for k other than c. With `right` and `wrong` both 0 this is the original method.
        iterations: the most iterations.
        tolerance: EM ends when no posterior changes by this much.

    Example:
        Two families disagree on the last clip, on which the third sides with the second:

        >>> votes = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1], [0, 1, 1]])
        >>> dawid_skene(votes, classes=2).posterior.argmax(axis=1).tolist()
        [0, 0, 1, 1, 1]
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
    """Fit the same model where row i stands for `weight[i]` clips.

    Args:
        matrix: int64 (m, F), as `dawid_skene` takes it.
        weight: float64 (m,), how many clips each row stands for.
        gold: int64 (m,), as `dawid_skene` takes it.
        start: float64 (m, C), the posterior that EM starts from.
        pseudo_votes: `right` and `wrong` of `dawid_skene`.
        iterations: the most iterations.
        tolerance: EM ends when no posterior changes by this much.
    """
    right, wrong = pseudo_votes
    classes = start.shape[1]
    pseudo = np.full((classes, classes), wrong) + np.eye(classes) * (right - wrong)
    row, family = np.nonzero(matrix != MISSING)
    kind = family * classes + matrix[row, family]  # the family and its vote as one index
    return iterate(start, gold, partial(_step, row, kind, weight, pseudo, matrix.shape[1]), iterations, tolerance)


def _step(
    row: NDArray[np.int64],
    kind: NDArray[np.int64],
    weight: NDArray[np.float64],
    pseudo: NDArray[np.float64],
    families: int,
    posterior: NDArray[np.float64],
) -> Step:
    """Return the prior (C,), the confusions (F, C, C) and the next posterior (m, C): one M step, then one E step.

    The votes are in long form, so that sparse ones cost what they hold. `bincount` adds in a fixed order. A BLAS would
    split the sums by thread, so that their rounding would depend on the number of threads.
    """
    classes = len(pseudo)
    mass = (posterior * weight[:, None]).T.copy()  # (C, m)
    prior = mass.sum(axis=1) / weight.sum()
    counts = np.array([np.bincount(kind, of_class[row], families * classes) for of_class in mass])
    confusion = counts.reshape(classes, families, classes).transpose(1, 0, 2) + pseudo
    confusion /= np.maximum(confusion.sum(axis=2, keepdims=True), TINY)
    log = np.log(np.maximum(confusion, TINY)).transpose(1, 0, 2).reshape(classes, -1)  # (C, F * C)
    total = [np.bincount(row, of_class[kind], len(posterior)) for of_class in log]
    return prior, confusion, softmax(np.log(np.maximum(prior, TINY)) + np.stack(total, axis=1))
