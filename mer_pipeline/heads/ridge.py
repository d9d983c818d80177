"""The head `ridge`, linear late fusion for numbers: one ridge regression per modality, and a weighted sum of them.

    y_m = W_m x_m + b_m              the least |y - y_m|² + alpha_m |W_m|² over the clips that have modality m
    y   = s Σ_m a_m y_m              over the present modalities, a_m > 0

All choices are made on held-out predictions, for which each fold of the training rows is left out in turn: alpha_m and
the weights a by the squared error, and then s by the loss of the networks, the mean squared error + (1 - CCC). The
least squared error alone would draw noisy predictions towards the mean. Numbers are standardised, so an absent
modality, which adds nothing, speaks for the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator
from scipy.optimize import nnls

from mer_pipeline.base.modalities import Features, Indices, Matrix
from mer_pipeline.config.section import Section, Strength, distinct
from mer_pipeline.heads.base import NO_FOLD, Examples, Logits
from mer_pipeline.heads.fitted import FittedHead, two_folds_or_more
from mer_pipeline.scores.numbers import ccc, moments

FLOOR = 0.01  # the least weight: a clip that has only an uninformative modality is still predicted by it
WIDER = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0)  # the candidates for s


class RidgeParams(Section):
    """The options of the linear late fusion of numbers."""

    # candidates for the penalty
    alpha: Annotated[tuple[Strength, ...], Field(min_length=1)] = (1e1, 1e2, 1e3, 1e4)

    @field_validator("alpha")
    @classmethod
    def _distinct(cls, alpha: tuple[float, ...]) -> tuple[float, ...]:
        return distinct(alpha)


class Ridge(FittedHead):
    """One ridge regression per modality, joined by a weighted sum."""

    Params = RidgeParams
    kinds = frozenset({"regression"})
    params: RidgeParams

    def fit(self, features: Features, train: Examples) -> None:
        """See `FittedHead`."""
        fold = two_folds_or_more(train.fold)
        held_out = np.zeros((len(self.dims), *train.target.shape))
        self.linear: list[Matrix] = []
        for m, x in enumerate(features.x):
            there = np.flatnonzero(features.mask[:, m])
            alpha, held_out[m, there] = choose_penalty(x[there], train.target[there], fold[there], self.params.alpha)
            self.linear += fit_ridge(x[there], train.target[there], [alpha])
        own, _ = nnls(held_out.reshape(len(self.dims), -1).T, train.target.ravel().astype(np.float64))
        own = np.maximum(own, FLOOR)
        told = np.einsum("m,mnd->nd", own, held_out)
        wide = min(WIDER, key=lambda s: _loss(train.target, s * told))
        self.weights = np.asarray(wide * own, dtype=np.float32)

    def score(self, group: Features) -> Logits:
        """See `Head`. The modality weights are the shares of the weights of the present modalities."""
        a = self.weights * group.mask
        told = np.zeros((len(group), self.classes), dtype=np.float32)
        for m, (x, own) in enumerate(zip(group.x, self.linear, strict=True)):
            told += a[:, m : m + 1] * (x @ own[:, :-1].T + own[:, -1])
        return Logits(told, a / np.maximum(a.sum(axis=1, keepdims=True), FLOOR))

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        return {"sum": self.weights, **{f"{m}.linear": one for m, one in enumerate(self.linear)}}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        self.weights = tensors["sum"]
        self.linear = [tensors[f"{m}.linear"] for m in range(len(self.dims))]


def choose_penalty(x: Matrix, target: Matrix, fold: Indices, penalties: Sequence[float]) -> tuple[float, Matrix]:
    """Return the penalty with the least squared error on held-out rows, and its held-out predictions, (n, C).

    Args:
        x: float32 (n, D), standardised features.
        target: float32 (n, C), standardised numbers.
        fold: int64 (n,), the fold of each row; each is left out in turn, and rows of NO_FOLD are always learnt from.
        penalties: the candidates.
    """
    told = np.zeros((len(penalties), *target.shape), dtype=np.float32)
    for out in np.unique(fold[fold != NO_FOLD]):
        inside, outside = fold != out, fold == out
        for p, own in enumerate(fit_ridge(x[inside], target[inside], penalties)):
            told[p, outside] = x[outside] @ own[:, :-1].T + own[:, -1]
    held = fold != NO_FOLD
    errors = [float(((one - target)[held].astype(np.float64) ** 2).sum()) for one in told]
    best = int(np.argmin(errors))
    return penalties[best], told[best]


def fit_ridge(x: Matrix, target: Matrix, penalties: Sequence[float]) -> list[Matrix]:
    """Return the ridge regression for each penalty, float32 (C, D + 1): the weights, and the intercept at the end.

    One decomposition x = U S V of the centred features serves all penalties: W = Vᵀ S (S² + alpha)⁻¹ Uᵀ y. The
    intercept has no penalty, as in scikit-learn's Ridge. Without rows, all is 0.
    """
    if not len(x):
        return [np.zeros((target.shape[1], x.shape[1] + 1), dtype=np.float32) for _ in penalties]
    mx, my = x.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    u, s, v = np.linalg.svd(x - mx, full_matrices=False)
    found = []
    for alpha in penalties:
        weights = (v.T @ ((s / (s**2 + alpha))[:, None] * (u.T @ (target - my)))).T
        found.append(np.column_stack([weights, my - weights @ mx]).astype(np.float32))
    return found


def _loss(target: Matrix, told: Matrix) -> float:
    """Return the mean squared error + (1 - CCC), the mean over the dimensions."""
    return float(((target - told) ** 2).mean() + 1 - ccc(moments(target, told).sum(axis=0)).mean())
