"""Standardisation on the training rows that have the modality; saved beside the head that was trained on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mer_pipeline.base.modalities import Features, Mask, Matrix

# A column whose standard deviation is below this share of its mean is constant up to rounding.
RELATIVE_ZERO = 1e-6


@dataclass(frozen=True)
class Scaler:
    """Per modality (x - mean) * inverse.

    Attributes:
        mean: per modality float32 (D_m,).
        inverse: per modality float32 (D_m,), one over the standard deviation; 0 for a column that is constant in
            training, since it told the head nothing there and could only mislead it later.
    """

    mean: tuple[Matrix, ...]
    inverse: tuple[Matrix, ...]

    @classmethod
    def fit(cls, train: Features) -> Scaler:
        """Measure each column on the training rows that have it."""
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
        """Bool (M,): the modalities that varied in training."""
        return np.array([bool(inverse.any()) for inverse in self.inverse])

    def apply(self, features: Features) -> Features:
        """Standardised features: zeros, which is the mean, where the mask is false or a part of a modality is absent.

        A modality that never varied in training is masked altogether: its head parameters learnt nothing.
        """
        mask = features.mask & self.known
        x = tuple(
            np.where(mask[:, m : m + 1] & ~np.isnan(matrix), (matrix - mean) * inverse, np.float32(0))
            for m, (matrix, mean, inverse) in enumerate(zip(features.x, self.mean, self.inverse, strict=True))
        )
        return Features(features.names, x, mask)
