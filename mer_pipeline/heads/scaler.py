"""Standardise features by the training rows that have the modality. The scaler is saved with its head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mer_pipeline.base.modalities import Features, Mask, Matrix

# A column whose standard deviation is below this share of its mean counts as constant, up to rounding.
RELATIVE_ZERO = 1e-6


@dataclass(frozen=True)
class Scaler:
    """The standardisation (x - mean) * inverse of every modality.

    Attributes:
        mean: one array per modality, float32 (D_m,).
        inverse: one array per modality, float32 (D_m,): one over the standard deviation. It is 0 for a column that is
            constant in training: the head could learn nothing from it, so other values would only mislead the head.

    Example:
        >>> x = np.array([[1.0, 5.0], [3.0, 5.0]], dtype=np.float32)
        >>> features = Features(("voice",), (x,), np.ones((2, 1), dtype=bool))
        >>> Scaler.fit(features).apply(features).x[0].tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    mean: tuple[Matrix, ...]
    inverse: tuple[Matrix, ...]

    @classmethod
    def fit(cls, train: Features) -> Scaler:
        """Return the scaler for these training rows. Each column is measured on the rows that have it."""
        mean, inverse = [], []
        for m, x in enumerate(train.x):
            present = x[train.mask[:, m]].astype(np.float64)
            has = ~np.isnan(present)
            n = np.maximum(has.sum(axis=0), 1)
            mu = np.where(has, present, 0).sum(axis=0) / n
            sd = np.sqrt((np.where(has, present - mu, 0) ** 2).sum(axis=0) / n)
            varies = sd > RELATIVE_ZERO * np.abs(mu) + 1e-12
            mean.append(mu.astype(np.float32))
            inverse.append(np.divide(1.0, sd, out=np.zeros_like(sd), where=varies).astype(np.float32))
        return cls(tuple(mean), tuple(inverse))

    @property
    def known(self) -> Mask:
        """The modalities that vary in training, bool (M,)."""
        return np.array([bool(inverse.any()) for inverse in self.inverse])

    def apply(self, features: Features) -> Features:
        """Return the standardised features, with zeros (the mean) where a modality, or a part of it, is absent.

        A modality that does not vary in training is masked for all clips, because the head learnt nothing from it.
        """
        mask = features.mask & self.known
        x = tuple(
            np.where(mask[:, m : m + 1] & ~np.isnan(matrix), (matrix - mean) * inverse, np.float32(0))
            for m, (matrix, mean, inverse) in enumerate(zip(features.x, self.mean, self.inverse, strict=True))
        )
        return Features(features.names, x, mask)
