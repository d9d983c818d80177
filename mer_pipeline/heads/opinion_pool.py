"""The opinion pool: a weighted product of the modalities' probabilities p_m that counts the prior once.

    log p(c | x) = b log p(c) + Σ_m a_m e_m(c) + const,    a_m > 0, over the present modalities; 0 <= b <= 1
    e_m(c)       = log p_m(c | x_m) - log p_m(c)           the evidence of modality m; p_m(c): shares of its own rows

The classifier p_m is trained on the clips that have modality m. Their shares of the classes may differ from those of
all clips, so its own prior is subtracted. For a class without a training row its evidence is 0 (linear.py). With
a_m = b = 1 the formula is Bayes' rule for modalities that are independent given the class.

The weights are chosen on held-out evidence: a by cross-entropy with b = 1, so that the pool is as sure as it is right,
and then b by weighted F1, the measure by which the networks stop early. With few noisy labels the best a are close to
0, and the most frequent class would be the most probable one of nearly all clips; a smaller b lets the evidence decide
between classes. To multiply a by 1/b instead would give the same labels, but far too sure ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.optimize import minimize

from mer_pipeline.base.modalities import Mask, Matrix
from mer_pipeline.heads.base import NO_FOLD, Examples
from mer_pipeline.heads.linear import UNSEEN, log_shares, log_softmax
from mer_pipeline.scores.confusion import Confusion, FloatArray

FLOOR = 0.01  # the least weight: a clip that has only an uninformative modality is still predicted by it
PRIOR_WEIGHTS = (1.0, 0.5, 0.25, 0.125, 0.0)  # the candidates for b; of equal ones the first is taken


@dataclass(frozen=True)
class OpinionPool:
    """A fitted opinion pool.

    Attributes:
        prior: float32 (C,), b times the logarithm of each class's share of the training rows; UNSEEN for a class that
            has none.
        weights: float32 (M,), the weights a_m.
    """

    prior: Matrix
    weights: Matrix

    @classmethod
    def fit(cls, held_out: Matrix, mask: Mask, train: Examples) -> Self:
        """Fit the pool.

        Args:
            held_out: float32 (M, n, C), each modality's held-out evidence on the n training rows.
            mask: bool (n, M), true where a clip has the modality.
            train: the training rows. Those of NO_FOLD have no held-out evidence and count for the prior only.
        """
        prior = log_shares(train.target, train.weight)
        held = np.flatnonzero(train.fold != NO_FOLD)
        told = (held_out * mask.T[:, :, None])[:, held]
        weights = likeliest(told, train.target[held], train.weight[held], prior)
        pooled = np.einsum("m,mnc->nc", weights, told)
        priors = [np.where(prior > UNSEEN + 1, np.float32(b) * prior, prior) for b in PRIOR_WEIGHTS]
        f1 = [Confusion.of(train.label[held], (one + pooled).argmax(axis=1), len(prior)).weighted_f1 for one in priors]
        return cls(priors[int(np.argmax(f1))], weights)

    def of(self, evidence: list[Matrix], mask: Mask) -> tuple[Matrix, Matrix]:
        """Pool the evidence of the modalities.

        Args:
            evidence: M arrays, float32 (n, C), each modality's evidence.
            mask: bool (n, M), true where a clip has the modality.

        Returns:
            float32 (n, C), log-probabilities up to a constant per row.
            float32 (n, M), each modality's share of the weights of the present ones.
        """
        a = self.weights * mask
        pooled = np.tile(self.prior, (len(mask), 1))
        for m, told in enumerate(evidence):
            pooled += a[:, m : m + 1] * told
        return pooled, a / np.maximum(a.sum(axis=1, keepdims=True), FLOOR)


def likeliest(told: Matrix, target: Matrix, weight: Matrix, prior: Matrix) -> Matrix:
    """Return the weights a >= FLOOR that minimise the cross-entropy of softmax(prior + sum_m a_m told_m), float32 (M,).

    Args:
        told: float32 (M, n, C), the evidence; zeros where a clip lacks the modality.
        target: float32 (n, C), a distribution over the classes for each row.
        weight: float32 (n,), the weight of each row.
        prior: float32 (C,), the logarithm of each class's share.
    """
    log_p, truth = told.astype(np.float64), target.astype(np.float64) * weight[:, None]

    def loss(a: FloatArray) -> tuple[float, FloatArray]:
        log = log_softmax(prior + np.einsum("m,mnc->nc", a, log_p))
        gradient = np.einsum("mnc,nc->m", log_p, np.exp(log) * truth.sum(axis=1, keepdims=True) - truth) / len(truth)
        return -float((log * truth).sum() / len(truth)), gradient

    start = np.full(len(told), 1 / len(told))
    found = minimize(loss, start, jac=True, bounds=[(FLOOR, None)] * len(start), method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float32)
