"""Regularised late fusion: a logistic regression per modality, and a log-linear pool of their opinions.

    log p(c | x) = Σ_m a_m log p_m(c | x_m) + const,    a_m > 0, over the present modalities

Strengths and a are chosen on held-out predictions: each fold among the training rows is left out in turn (whole
groups, since folds are). M positive weights are all that fusion learns, so a modality that knows nothing gets
next to nothing (no competition), and at n ≈ 100 there is little to overfit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np

from mer_pipeline.fusion.features import Features, Matrix, Rows
from mer_pipeline.fusion.heads.base import Epoch, Examples, Head, Lesson, Logits, Place
from mer_pipeline.fusion.heads.linear import POOL_FLOOR, fit_linear, log_softmax, pool_weights
from mer_pipeline.params import TrainParams

INNER_FOLDS = 5  # where only one fold is trained on, clips are dealt to so many, and groups may straddle them


class LogReg(Head):
    """See the module."""

    seeded = False
    watches = False

    @classmethod
    def fit_all(
        cls,
        features: Features,
        lessons: Sequence[Lesson],
        classes: int,
        params: TrainParams,
        place: Place,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """See `Head`; there is neither chance nor early stopping in it, and it needs no place."""
        del place
        fitted = []
        for lesson in lessons:
            head = cls(features.dims, classes, params)
            head.fit(lesson.scaler.apply(features.take(lesson.train.rows)), lesson.train)
            fitted.append((head, list[Epoch]()))
            tick()
        return fitted

    def fit(self, features: Features, train: Examples) -> None:
        """Fit on the standardised features of these examples."""
        self.linear: list[tuple[Matrix, Matrix]] = []
        held_out = np.zeros((len(self.dims), len(train.label), self.classes), dtype=np.float32)
        for m, x in enumerate(features.x):
            present = np.flatnonzero(features.mask[:, m])
            strength, held_out[m, present] = self._choose(x[present], train, present)
            self.linear += fit_linear(x[present], train.label[present], [strength], self.classes)
        self.pool = pool_weights(held_out, train.label)

    def _choose(self, x: Matrix, train: Examples, rows: Rows) -> tuple[float, Matrix]:
        """The strength with the least held-out cross-entropy, and its held-out log-probabilities (rows, C)."""
        strengths, y, fold = self.params.logreg_c, train.label[rows], train.fold[rows]
        if len(np.unique(fold)) < 2:
            fold = np.arange(len(rows)) % INNER_FOLDS
        scored = np.zeros((len(strengths), len(rows), self.classes), dtype=np.float32)
        for out in np.unique(fold):
            inside, outside = fold != out, fold == out
            for s, (weights, bias) in enumerate(fit_linear(x[inside], y[inside], strengths, self.classes)):
                scored[s, outside] = log_softmax(x[outside] @ weights.T + bias)
        best = int(scored[:, np.arange(len(rows)), y].mean(axis=1).argmax()) if len(rows) else 0
        return strengths[best], scored[best]

    def score(self, group: Features) -> Logits:
        """See `Head`; the weights are a, shared out among the present modalities."""
        a = self.pool * group.mask
        opinions = [log_softmax(x @ w.T + b) for x, (w, b) in zip(group.x, self.linear, strict=True)]
        values = sum((a[:, m : m + 1] * log for m, log in enumerate(opinions)), np.zeros_like(opinions[0]))
        return Logits(values, a / np.maximum(a.sum(axis=1, keepdims=True), POOL_FLOOR))

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        parts = {f"{m}.w": weights for m, (weights, _) in enumerate(self.linear)}
        return {"pool": self.pool, **parts, **{f"{m}.b": bias for m, (_, bias) in enumerate(self.linear)}}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        self.pool = tensors["pool"]
        self.linear = [(tensors[f"{m}.w"], tensors[f"{m}.b"]) for m in range(len(self.dims))]
