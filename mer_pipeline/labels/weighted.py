"""A weighted vote without EM: a family weighs more, the more the other families agree with it.

Let a_w be the mean, over the votes of family w, of the share of the other families' votes that name the same class,
with one pseudo-count each for and against. A vote of w weighs log(a_w (C - 1) / (1 - a_w)), or 0 if that is negative.
This is the best weight for independent families of accuracy a_w (Nitzan & Paroush 1982). The posterior is the softmax
of the summed weights.

The other families err too, so agreement with them is lower than accuracy. The weights are therefore rather too small,
and the posteriors less extreme than they could be.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.em import clamp, distinct, softmax
from mer_pipeline.labels.refined import Refined
from mer_pipeline.labels.votes import MISSING, Votes


def agreement_with_others(matrix: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the agreement a_w of each family with the others, float64 (F,).

    Args:
        matrix: int64 (n, F), the votes, MISSING where there is none.
        classes: the number of classes.

    Example:
        The first two families always agree, and the third never agrees with them:

        >>> agreement_with_others(np.array([[0, 0, 1], [1, 1, 0]]), classes=2).tolist()
        [0.5, 0.5, 0.25]
    """
    found = distinct(matrix)  # sorted rows: no sum may depend on the order of the clips
    return _agreement(found.rows.astype(np.int64), found.weight, classes)


def log_odds_weights(rows: NDArray[np.int64], weight: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """Return the weight of each family's vote, float64 (F,): log(a_w (C - 1) / (1 - a_w)), or 0 if that is negative.

    Args:
        rows: int64 (m, F), votes, MISSING where there is none, in an order that depends on the votes alone.
        weight: float64 (m,), how many clips each row stands for.
        classes: the number of classes.
    """
    accuracy = _agreement(rows, weight, classes)
    odds: NDArray[np.float64] = np.maximum(np.log(accuracy * (classes - 1) / (1 - accuracy)), 0)
    return odds


def _agreement(rows: NDArray[np.int64], weights: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    said = (rows[:, :, None] == np.arange(classes)).astype(np.float64)
    others = said.sum(axis=1)[:, None] - said  # (m, F, C)
    company = others.sum(axis=2)
    both = (rows != MISSING) & (company > 0)
    same = np.where(both, (others * said).sum(axis=2) / np.where(both, company, 1), 0)
    weight = weights[:, None]
    accuracy: NDArray[np.float64] = ((same * weight).sum(axis=0) + 1) / ((both * weight).sum(axis=0) + 2)
    return accuracy


def weighted(votes: Votes, classes: tuple[str, ...]) -> Refined:
    """Label each clip with the class of most weight.

    In a tie, the given label wins if it is among the tied classes, and the first of them otherwise.
    """
    count = len(classes)
    found = distinct(votes.matrix)
    weight = log_odds_weights(found.rows.astype(np.int64), found.weight, count)
    said = votes.matrix[:, :, None] == np.arange(count)
    total = (said * weight[:, None]).sum(axis=1)
    best = total.max(axis=1)
    at_given = total[np.arange(len(total)), votes.given]
    label = np.where(at_given == best, votes.given, total.argmax(axis=1))
    label = np.where(votes.gold == MISSING, label, votes.gold)
    posterior = clamp(softmax(total), votes.gold)
    reason = tuple(
        f"{classes[c]} has most weight ({w:.2f} of {of:.2f})"
        for c, w, of in zip(label, total[np.arange(len(total)), label], total.sum(axis=1), strict=True)
    )
    return Refined(label, posterior, reason)
