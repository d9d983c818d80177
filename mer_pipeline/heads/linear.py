"""Logistic regressions with an L2 penalty on soft targets, and their evidence for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from mer_pipeline.base.modalities import Matrix

LEAST_SHARE = 1e-3  # smaller shares of a soft target are taken as 0
UNSEEN = -30.0  # logit of a class without a training row: e^-30 is practically 0, and its logarithm is still finite


class Linear(NamedTuple):
    """A classifier by the softmax of x @ weights.T + bias, with the prior of its training rows.

    Attributes:
        weights: float32 (C, D).
        bias: float32 (C,).
        prior: float32 (C,), the logarithm of each class's share of the training rows; UNSEEN for a class without one.
    """

    weights: Matrix
    bias: Matrix
    prior: Matrix

    def evidence(self, x: Matrix) -> Matrix:
        """Return log p(c | x) - log p(c) for each class, float32 (n, C); 0 for a class without a training row.

        Args:
            x: float32 (n, D), standardised features.
        """
        said = log_softmax(x @ self.weights.T + self.bias)
        return np.asarray(np.where(self.prior > UNSEEN + 1, said - self.prior, 0), dtype=np.float32)


def fit_linear(x: Matrix, target: Matrix, weight: Matrix, strengths: Sequence[float]) -> list[Linear]:
    """Fit scikit-learn's LogisticRegression for each strength, which is its parameter C.

    A row with a soft target enters once for each class in its target, weighted by the class's share. If there are fewer
    rows than columns, the fit is done in the span of the rows. The solution with an L2 penalty always lies there, so
    this is exact and far faster.

    Args:
        x: float32 (n, D), standardised features.
        target: float32 (n, C), a distribution over the classes for each row.
        weight: float32 (n,), the weight of each row.
        strengths: the inverse regularisations to fit with.

    Returns:
        One classifier for each strength.
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
        if len(seen) == 2:  # scikit-learn gives only the logit of the second class
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        coefficients, intercept = np.zeros((classes, x.shape[1])), np.full(classes, UNSEEN)
        coefficients[seen], intercept[seen] = weights, bias
        fitted.append(Linear(coefficients.astype(np.float32), intercept.astype(np.float32), prior))
    return fitted


def log_shares(target: Matrix, weight: Matrix) -> Matrix:
    """Return the logarithm of each class's share of n rows, float32 (C,); UNSEEN for a class without a row.

    Args:
        target: float32 (n, C), a distribution over the classes for each row.
        weight: float32 (n,), the weight of each row.

    Example:
        >>> target, weight = np.array([[1, 0, 0], [0.5, 0.5, 0]]), np.ones(2)
        >>> [round(float(share), 2) for share in log_shares(target, weight)]
        [-0.29, -1.39, -30.0]
    """
    counts = weight @ target
    shares = counts / np.maximum(counts.sum(), LEAST_SHARE)  # no division by zero if there are no rows
    return np.asarray(np.log(np.maximum(shares, np.exp(UNSEEN))), dtype=np.float32)


def log_softmax(logits: Matrix) -> Matrix:
    """Return the logarithm of the softmax over the last axis.

    Example:
        >>> np.exp(log_softmax(np.log(np.array([[1.0, 3.0]])))).round(2).tolist()
        [[0.25, 0.75]]
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
