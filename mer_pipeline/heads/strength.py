"""Choose the regularisation of a modality's logistic regression by its held-out evidence e_C at the best scale a.

    CE(C) = min over a of the cross-entropy of softmax(log p(c) + a e_C(c))

The opinion pool gives every modality a weight a, so overconfident evidence does no harm if it is right. Without the
scale, the cross-entropy on few and noisy labels would always choose a penalty so strong that no evidence is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mer_pipeline.base.modalities import Indices, Matrix
from mer_pipeline.heads.base import NO_FOLD
from mer_pipeline.heads.fitted import two_folds_or_more
from mer_pipeline.heads.linear import fit_linear, log_shares, log_softmax
from mer_pipeline.heads.opinion_pool import likeliest


def choose_strength(
    x: Matrix, target: Matrix, weight: Matrix, fold: Indices, strengths: Sequence[float]
) -> tuple[float, Matrix]:
    """Return the strength with the lowest CE, and its held-out evidence, float32 (n, C).

    Each fold is left out in turn. Rows of NO_FOLD are always learnt from, so their held-out evidence is zero.

    Args:
        x: float32 (n, D), standardised features.
        target: float32 (n, C), a distribution over the classes for each row.
        weight: float32 (n,), the weight of each row.
        fold: int64 (n,), the fold of each row, or NO_FOLD.
        strengths: the candidates for the inverse regularisation.
    """
    fold = two_folds_or_more(fold)
    evidence = np.zeros((len(strengths), *target.shape), dtype=np.float32)
    for out in np.unique(fold[fold != NO_FOLD]):
        inside, outside = fold != out, fold == out
        for s, one in enumerate(fit_linear(x[inside], target[inside], weight[inside], strengths)):
            evidence[s, outside] = one.evidence(x[outside])
    held, prior = fold != NO_FOLD, log_shares(target, weight)
    if not held.any():  # only clips with pseudo-labels have this modality
        return strengths[0], evidence[0]
    truth = (target * weight[:, None])[held]

    def likelihood(told: Matrix) -> float:
        (a,) = likeliest(told[None], target[held], weight[held], prior)
        return float((log_softmax(prior + a * told) * truth).sum())

    best = int(np.argmax([likelihood(told[held]) for told in evidence]))
    return strengths[best], evidence[best]
