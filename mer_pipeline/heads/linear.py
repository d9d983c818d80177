"""L2-penalised logistic regressions on soft targets, and what they tell of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from mer_pipeline.base.modalities import Matrix

LEAST_SHARE = 1e-3  # of a soft target: less is nothing
UNSEEN = -30.0  # logit of a class without a training row: e^-30 is nothing, and its logarithm is still finite


class Linear(NamedTuple):
    """A softmax of x @ weights.T + bias, and what it says of nothing.

    Attributes:
        weights: float32 (C, D).
        bias: float32 (C,).
        prior: float32 (C,), logarithms of the classes' shares of the rows it was learnt from; UNSEEN without a row.
    """

    weights: Matrix
    bias: Matrix
    prior: Matrix

    def evidence(self, x: Matrix) -> Matrix:
        """For each class, log p(c | x) - log p(c), float32 (n, C); 0 for one that it has never seen."""
        said = log_softmax(x @ self.weights.T + self.bias)
        return np.asarray(np.where(self.prior > UNSEEN + 1, said - self.prior, 0), dtype=np.float32)


def fit_linear(x: Matrix, target: Matrix, weight: Matrix, strengths: Sequence[float]) -> list[Linear]:
    """Fit scikit-learn's LogisticRegression for each strength (its C).

    A row with a soft target is as many rows as it has classes, each weighing its share. With fewer rows than columns
    it is fitted in the span of the rows: an L2-penalised solution lies there, so that is exact, and far quicker.

    Args:
        x: float32 (n, D).
        target: float32 (n, C), distributions.
        weight: float32 (n,).
        strengths: candidates.

    Returns:
        One for each strength.
    """
    classes = target.shape[1]
    at, label = np.nonzero(target > LEAST_SHARE)
    seen = np.unique(label)
    prior = log_shares(np.where(target > LEAST_SHARE, target, 0), weight)
    if len(seen) < 2:
        intercept = np.full(classes, UNSEEN, dtype=np.float32)
        intercept[seen] = 0
        return [Linear(np.zeros((classes, x.shape[1]), dtype=np.float32), intercept, prior)] * len(strengths)
    span = np.linalg.svd(x, full_matrices=False)[2] if len(x) < x.shape[1] else None
    rows = x if span is None else x @ span.T
    model = LogisticRegression(max_iter=300, warm_start=True)
    fitted = []
    for strength in strengths:
        model.set_params(C=strength).fit(rows[at], label, target[at, label] * weight[at])
        weights, bias = model.coef_ if span is None else model.coef_ @ span, model.intercept_
        if len(seen) == 2:  # scikit-learn gives the second class's logit alone
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        coefficients, intercept = np.zeros((classes, x.shape[1])), np.full(classes, UNSEEN)
        coefficients[seen], intercept[seen] = weights, bias
        fitted.append(Linear(coefficients.astype(np.float32), intercept.astype(np.float32), prior))
    return fitted


def log_shares(target: Matrix, weight: Matrix) -> Matrix:
    """Logarithms of the classes' shares of n rows, float32 (C,); UNSEEN for a class that has none."""
    counts = weight @ target
    shares = counts / np.maximum(counts.sum(), LEAST_SHARE)  # there may be no rows
    return np.asarray(np.log(np.maximum(shares, np.exp(UNSEEN))), dtype=np.float32)


def log_softmax(logits: Matrix) -> Matrix:
    """Log-probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
