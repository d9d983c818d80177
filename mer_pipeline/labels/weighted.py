"""A weighted vote, without EM: a family weighs as much as the other families agree with it.

a_w = mean over its votes of the share of the other families' votes that name the same class (a pseudo-count on
either side); its vote then weighs log(a_w (C - 1) / (1 - a_w)), the best weight for independent families of that
accuracy (Nitzan & Paroush 1982), and nothing where that is negative. The posterior is the softmax of the weights.

Agreement with others that err themselves is lower than accuracy, so weights are small and posteriors cautious.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.em import clamp, distinct, softmax
from mer_pipeline.labels.refined import Refined
from mer_pipeline.labels.votes import MISSING, Votes


def agreement_with_others(matrix: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Float64 (F,): a_w of votes (n, F)."""
    found = distinct(matrix)  # so that no sum depends on the order of the clips
    rows = found.rows.astype(np.int64)
    said = (rows[:, :, None] == np.arange(classes)).astype(np.float64)
    others = said.sum(axis=1)[:, None] - said  # (n, F, C)
    company = others.sum(axis=2)
    both = (rows != MISSING) & (company > 0)
    same = np.where(both, (others * said).sum(axis=2) / np.where(both, company, 1), 0)
    weight = found.weight[:, None]
    accuracy: NDArray[np.float64] = ((same * weight).sum(axis=0) + 1) / ((both * weight).sum(axis=0) + 2)
    return accuracy


def weighted(votes: Votes, classes: tuple[str, ...]) -> Refined:
    """The class with most weight; in a tie the given label, if it is among the tied, else the first."""
    count = len(classes)
    accuracy = agreement_with_others(votes.matrix, count)
    weight = np.maximum(np.log(accuracy * (count - 1) / (1 - accuracy)), 0)
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
