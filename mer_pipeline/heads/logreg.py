"""The head `logreg`, regularised late fusion: one logistic regression per modality, joined by an opinion pool.

The regularisation (strength.py) and the pool (opinion_pool.py) are both chosen on held-out predictions, for which each
fold of the training rows is left out in turn. Folds keep groups together, so a group is left out as a whole. The fusion
itself learns only M positive weights: an uninformative modality gets a weight near 0, and even with about 100 clips
there is little to overfit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.config.section import Section, Strength, distinct
from mer_pipeline.heads.base import Examples, Logits
from mer_pipeline.heads.fitted import FittedHead
from mer_pipeline.heads.linear import Linear, fit_linear
from mer_pipeline.heads.opinion_pool import OpinionPool
from mer_pipeline.heads.strength import choose_strength

Strengths = Annotated[tuple[Strength, ...], Field(min_length=1)]


class LogRegParams(Section):
    """The options of the late fusion."""

    c: Strengths = (1e-4, 1e-3, 1e-2, 1e-1)  # candidates for the inverse regularisation

    @field_validator("c")
    @classmethod
    def _distinct(cls, c: tuple[float, ...]) -> tuple[float, ...]:
        return distinct(c)


class LogReg(FittedHead):
    """Regularised late fusion: one logistic regression per modality, joined by an opinion pool.

    Attributes:
        linear: the logistic regressions.
        pool: the opinion pool.
        held_out: float32 (n, C), what the pool says of the n training rows by held-out evidence, as the logarithms of
            probabilities up to a constant per row; the training prior for rows of NO_FOLD. Not kept with the head.
    """

    Params = LogRegParams
    params: LogRegParams

    def fit(self, features: Features, train: Examples) -> None:
        """See `FittedHead`."""
        self.linear: list[Linear] = []
        held_out = np.zeros((len(self.dims), len(train.label), self.classes), dtype=np.float32)
        for m, x in enumerate(features.x):
            there = np.flatnonzero(features.mask[:, m])
            own, strength = train.at(there), self.params.c[0]
            if len(there):
                strength, held_out[m, there] = choose_strength(
                    x[there], own.target, own.weight, own.fold, self.params.c
                )
            self.linear += fit_linear(x[there], own.target, own.weight, [strength])
        self.pool = OpinionPool.fit(held_out, features.mask, train)
        self.held_out, _ = self.pool.of(list(held_out), features.mask)

    def score(self, group: Features) -> Logits:
        """See `Head`. The modality weights are the pool's, normalised over the present modalities."""
        told = [one.evidence(x) for x, one in zip(group.x, self.linear, strict=True)]
        return Logits(*self.pool.of(told, group.mask))

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        parts = {f"{m}.{name}": part for m, one in enumerate(self.linear) for name, part in one._asdict().items()}
        return {"prior": self.pool.prior, "pool": self.pool.weights, **parts}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        self.pool = OpinionPool(tensors["prior"], tensors["pool"])
        self.linear = [Linear(*(tensors[f"{m}.{name}"] for name in Linear._fields)) for m in range(len(self.dims))]
