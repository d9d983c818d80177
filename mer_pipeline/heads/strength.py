"""How strongly a modality's logistic regression is to be penalised: as its held-out evidence says, at its best scale.

    CE(C) = min over a of the cross-entropy of softmax(log p(c) + a e_C(c))

The pool gives every modality a weight a, so a fit that is right and too sure of it costs nothing. Judged as they are,
the fits of few and noisy labels would all be penalised until they say next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mer_pipeline.base.modalities import Indices, Matrix
from mer_pipeline.heads.base import NO_FOLD
from mer_pipeline.heads.linear import fit_linear, log_shares, log_softmax
from mer_pipeline.heads.opinion_pool import likeliest

INNER_FOLDS = 5  # where only one fold is trained on, clips are dealt to so many, and groups may straddle them


def choose_strength(
    x: Matrix, target: Matrix, weight: Matrix, fold: Indices, strengths: Sequence[float]
) -> tuple[float, Matrix]:
    """The strength with the least CE, and its held-out evidence, float32 (n, C).

    Each fold is left out in turn; rows of NO_FOLD are always learnt from, and have no held-out evidence (zeros).
    """
    if len(np.unique(fold[fold != NO_FOLD])) < 2:
        fold = np.where(fold == NO_FOLD, NO_FOLD, np.arange(len(fold)) % INNER_FOLDS)
    evidence = np.zeros((len(strengths), *target.shape), dtype=np.float32)
    for out in np.unique(fold[fold != NO_FOLD]):
        inside, outside = fold != out, fold == out
        for s, one in enumerate(fit_linear(x[inside], target[inside], weight[inside], strengths)):
            evidence[s, outside] = one.evidence(x[outside])
    held, prior = fold != NO_FOLD, log_shares(target, weight)
    if not held.any():  # only pseudo-labels have this modality
        return strengths[0], evidence[0]
    truth = (target * weight[:, None])[held]

    def likelihood(told: Matrix) -> float:
        (a,) = likeliest(told[None], target[held], weight[held], prior)
        return float((log_softmax(prior + a * told) * truth).sum())

    best = int(np.argmax([likelihood(told[held]) for told in evidence]))
    return strengths[best], evidence[best]
