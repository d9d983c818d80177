"""The two convex fits of late fusion: L2-penalised logistic regressions, and the weights of a pool of opinions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from mer_pipeline.fusion.features import Matrix, Rows
from mer_pipeline.fusion.metrics import FloatArray

UNSEEN = -30.0  # logit of a class without a training row: e^-30 is nothing, and its logarithm is still finite
POOL_FLOOR = 0.01  # of a weight: a clip that has only a useless modality still gets that one's opinion


def fit_linear(x: Matrix, label: Rows, strengths: Sequence[float], classes: int) -> list[tuple[Matrix, Matrix]]:
    """Fit scikit-learn's LogisticRegression for each strength (its C).

    With fewer rows than columns it is fitted in the span of the rows: an L2-penalised solution lies there, so
    that is exact, and far quicker.

    Returns:
        Per strength: coefficients float32 (classes, D) and intercepts float32 (classes,) of a softmax.
    """
    seen = np.unique(label)
    if len(seen) < 2:
        intercept = np.full(classes, UNSEEN, dtype=np.float32)
        intercept[seen] = 0
        return [(np.zeros((classes, x.shape[1]), dtype=np.float32), intercept)] * len(strengths)
    span = np.linalg.svd(x, full_matrices=False)[2] if len(x) < x.shape[1] else None
    rows = x if span is None else x @ span.T
    model = LogisticRegression(max_iter=300, warm_start=True)
    fitted = []
    for strength in strengths:
        model.set_params(C=strength).fit(rows, label)
        weights, bias = model.coef_ if span is None else model.coef_ @ span, model.intercept_
        if len(seen) == 2:  # scikit-learn gives the second class's logit alone
            weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
        coefficients, intercept = np.zeros((classes, x.shape[1])), np.full(classes, UNSEEN)
        coefficients[seen], intercept[seen] = weights, bias
        fitted.append((coefficients.astype(np.float32), intercept.astype(np.float32)))
    return fitted


def log_softmax(logits: Matrix) -> Matrix:
    """Log-probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def pool_weights(opinions: Matrix, label: Rows) -> Matrix:
    """Float32 (M,): the weights a that minimise the cross-entropy of softmax(sum_m a_m opinions_m).

    Args:
        opinions: float32 (M, n, C), held-out log-probabilities; zeros where a clip has no such modality.
        label: int64 (n,).
    """
    log_p, truth = opinions.astype(np.float64), np.eye(opinions.shape[2])[label]

    def loss(a: FloatArray) -> tuple[float, FloatArray]:
        log = log_softmax(np.einsum("m,mnc->nc", a, log_p))
        gradient = np.einsum("mnc,nc->m", log_p, np.exp(log) - truth) / len(label)
        return -float((log * truth).sum() / len(label)), gradient

    start = np.full(len(opinions), 1 / len(opinions))
    found = minimize(loss, start, jac=True, bounds=[(POOL_FLOOR, None)] * len(start), method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float32)
