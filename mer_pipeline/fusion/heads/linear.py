"""L2-penalised logistic regressions on soft targets, and the choice of their strength by held-out predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from mer_pipeline.fusion.features import Matrix, Rows
from mer_pipeline.fusion.heads.base import NO_FOLD

INNER_FOLDS = 5  # where only one fold is trained on, clips are dealt to so many, and groups may straddle them
LEAST_SHARE = 1e-3  # of a soft target: less is nothing
UNSEEN = -30.0  # logit of a class without a training row: e^-30 is nothing, and its logarithm is still finite


def fit_linear(x: Matrix, target: Matrix, weight: Matrix, strengths: Sequence[float]) -> list[tuple[Matrix, Matrix]]:
    """Fit scikit-learn's LogisticRegression for each strength (its C).

    A row with a soft target is as many rows as it has classes, each weighing its share. With fewer rows than columns
    it is fitted in the span of the rows: an L2-penalised solution lies there, so that is exact, and far quicker.

    Args:
        x: float32 (n, D).
        target: float32 (n, C), distributions.
        weight: float32 (n,).
        strengths: candidates.

    Returns:
        Per strength: coefficients float32 (classes, D) and intercepts float32 (classes,) of a softmax.
    """
    classes = target.shape[1]
    at, label = np.nonzero(target > LEAST_SHARE)
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
        model.set_params(C=strength).fit(rows[at], label, target[at, label] * weight[at])
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


def choose_strength(
    x: Matrix, target: Matrix, weight: Matrix, fold: Rows, strengths: Sequence[float]
) -> tuple[float, Matrix]:
    """The strength with the least held-out cross-entropy, and its held-out log-probabilities, float32 (n, C).

    Each fold is left out in turn; rows of NO_FOLD are always learnt from, and have no held-out opinion (zeros).
    """
    if len(np.unique(fold[fold != NO_FOLD])) < 2:
        fold = np.where(fold == NO_FOLD, NO_FOLD, np.arange(len(fold)) % INNER_FOLDS)
    scored = np.zeros((len(strengths), *target.shape), dtype=np.float32)
    for out in np.unique(fold[fold != NO_FOLD]):
        inside, outside = fold != out, fold == out
        for s, (weights, bias) in enumerate(fit_linear(x[inside], target[inside], weight[inside], strengths)):
            scored[s, outside] = log_softmax(x[outside] @ weights.T + bias)
    likelihood = (scored * (target * weight[:, None])).sum(axis=(1, 2))
    best = int(likelihood.argmax())
    return strengths[best], scored[best]
