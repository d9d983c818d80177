"""A log-linear pool of the modalities' opinions p_m, which counts the prior once.

    log p(c | x) = log p(c) + s Σ_m a_m e_m(c) + const,    a_m > 0, over the present modalities
    e_m(c)       = log p_m(c | x_m) - log p_m(c)           its evidence, p_m(c) being the shares of its own rows

Modality m was learnt from the clips that have it. Where they are few their shares are not those of all clips, and what
p_m says of nothing is no evidence; of a class that it has never seen it has none (linear.py). With s a_m = 1 that is
Bayes' rule for modalities that are independent given the class. All is chosen on held-out evidence: a by cross-entropy,
then s by weighted F1, as early stopping of the networks is. Few noisy labels say so little that the best cross-entropy
is next to the prior's, and the most frequent class always the most probable; s makes up for that, and what is said
surer than it is (the temperature of `calibration.py` is for that).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize

from mer_pipeline.base.modalities import Mask, Matrix
from mer_pipeline.heads.base import NO_FOLD, Examples
from mer_pipeline.heads.linear import log_shares, log_softmax
from mer_pipeline.scores.confusion import Confusion, FloatArray

FLOOR = 0.01  # of a weight: a clip that has only a useless modality still gets that one's opinion
SHARPER = (1, 2, 4, 8, 16, 32, 64)  # s


@dataclass(frozen=True)
class OpinionPool:
    """The logarithm of the classes' shares, float32 (C,), and s a, float32 (M,)."""

    prior: Matrix
    weights: Matrix

    @classmethod
    def fit(cls, held_out: Matrix, mask: Mask, train: Examples) -> Self:
        """From held-out evidence float32 (M, n, C) on the n rows that were learnt from; mask bool (n, M)."""
        prior = log_shares(train.target, train.weight)
        held = np.flatnonzero(train.fold != NO_FOLD)
        told = (held_out * mask.T[:, :, None])[:, held]
        weights = likeliest(told, train.target[held], train.weight[held], prior)
        pooled = np.einsum("m,mnc->nc", weights, told)
        f1 = [
            Confusion.of(train.label[held], (prior + s * pooled).argmax(axis=1), len(prior)).weighted_f1
            for s in SHARPER
        ]
        return cls(prior, weights * np.float32(SHARPER[int(np.argmax(f1))]))

    def of(self, evidence: list[Matrix], mask: Mask) -> tuple[Matrix, Matrix]:
        """Of the M modalities' evidence, float32 (n, C) each: the pool, and each modality's share of it (n, M)."""
        a = self.weights * mask
        pooled = np.tile(self.prior, (len(mask), 1))
        for m, told in enumerate(evidence):
            pooled += a[:, m : m + 1] * told
        return pooled, a / np.maximum(a.sum(axis=1, keepdims=True), FLOOR)


def likeliest(told: Matrix, target: Matrix, weight: Matrix, prior: Matrix) -> Matrix:
    """Float32 (M,): the weights a that minimise the cross-entropy of softmax(prior + sum_m a_m told_m).

    Args:
        told: float32 (M, n, C), zeros where a clip has no such modality.
        target: float32 (n, C), distributions.
        weight: float32 (n,).
        prior: float32 (C,).
    """
    log_p, truth = told.astype(np.float64), target.astype(np.float64) * weight[:, None]

    def loss(a: FloatArray) -> tuple[float, FloatArray]:
        log = log_softmax(prior + np.einsum("m,mnc->nc", a, log_p))
        gradient = np.einsum("mnc,nc->m", log_p, np.exp(log) * truth.sum(axis=1, keepdims=True) - truth) / len(truth)
        return -float((log * truth).sum() / len(truth)), gradient

    start = np.full(len(told), 1 / len(told))
    found = minimize(loss, start, jac=True, bounds=[(FLOOR, None)] * len(start), method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float32)
