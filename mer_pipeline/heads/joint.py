"""The head `joint`: linear fusion that is late and early at once.

    log p(c | x) = log p(c) + Σ_m a_m e_m(c) + a_J e_J(c) + const       over the present modalities

The evidence e_m of a modality is that of `logreg` (logreg.py). e_J is the evidence of one more logistic regression, on
all modalities side by side, with zeros (the mean) where a clip lacks one. Late fusion needs fewer labels and knows what
is absent; the joint regression knows which modalities say the same. The opinion pool weighs both on held-out clips.

All weights are chosen by cross-entropy on held-out clips, and the prior counts in full, so that the probabilities can
be believed and added to. (`logreg` may count less of the prior, for the sake of its labels.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.section import Section
from mer_pipeline.heads.base import Examples, Logits
from mer_pipeline.heads.linear import log_shares
from mer_pipeline.heads.logreg import LogReg
from mer_pipeline.heads.opinion_pool import FLOOR


class Joint(LogReg):
    """Late fusion with one more logistic regression, on all modalities side by side."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: Section) -> None:
        super().__init__((*dims, sum(dims)) if len(dims) > 1 else dims, classes, params)

    @classmethod
    def code(cls) -> tuple[type, ...]:
        """See `Head`."""
        return (cls, LogReg)

    def fit(self, features: Features, train: Examples) -> None:
        """Fit on the standardised features of these examples."""
        super().fit(side_by_side(features), train)
        prior = log_shares(train.target, train.weight)
        self.held_out += prior - self.pool.prior
        self.pool = replace(self.pool, prior=prior)

    def score(self, group: Features) -> Logits:
        """See `Head`. The joint regression's weight is shared equally by the present modalities."""
        said = super().score(side_by_side(group))
        modalities = group.mask.shape[1]
        own, joint = said.weights[:, :modalities], said.weights[:, modalities:].sum(axis=1, keepdims=True)
        equal = group.mask / np.maximum(group.mask.sum(axis=1, keepdims=True), FLOOR)
        return Logits(said.values, np.asarray(own + joint * equal, dtype=np.float32))


def side_by_side(features: Features) -> Features:
    """Return standardised features with one more modality, all others side by side; a single modality stays alone.

    Example:
        >>> x = np.array([[1.0]], dtype=np.float32), np.array([[0.0, 0.0]], dtype=np.float32)
        >>> both = side_by_side(Features(("face", "voice"), x, np.array([[True, False]])))
        >>> both.x[2].tolist(), both.mask.tolist()
        ([[1.0, 0.0, 0.0]], [[True, False, True]])
    """
    if len(features.names) < 2:
        return features
    every, some = np.concatenate(features.x, axis=1), features.mask.any(axis=1, keepdims=True)
    return Features((*features.names, "joint"), (*features.x, every), np.concatenate([features.mask, some], axis=1))
