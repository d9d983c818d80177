"""The base class of heads that are fitted at once, one job after another: no random choice, no early stopping."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from mer_pipeline.base.modalities import Features, Indices
from mer_pipeline.heads.base import NO_FOLD, ComputeConfig, Epoch, Examples, Head, TrainingJob

INNER_FOLDS = 5  # if all training rows are of one fold, clips are split into so many folds, which may divide groups


class FittedHead(Head):
    """A head whose `fit` does all; it learns from the validation fold too."""

    seeded = False
    uses_validation = False

    @classmethod
    def fit_all(
        cls,
        features: Features,
        jobs: Sequence[TrainingJob],
        classes: int,
        compute: ComputeConfig,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """See `Head`. `compute` is ignored, and histories are empty."""
        del compute
        fitted = []
        for job in jobs:
            head = cls(features.dims, classes, job.params)
            head.fit(job.scaler.apply(features.take(job.train.rows)), job.train)
            fitted.append((head, list[Epoch]()))
            tick()
        return fitted

    @abstractmethod
    def fit(self, features: Features, train: Examples) -> None:
        """Fit on the standardised features of these examples."""


def two_folds_or_more(fold: Indices) -> Indices:
    """Return the folds of rows; where all are of one fold, deal the rows into INNER_FOLDS. NO_FOLD stays.

    Example:
        >>> two_folds_or_more(np.array([3, 3, -1, 3])).tolist()
        [0, 1, -1, 3]
    """
    if len(np.unique(fold[fold != NO_FOLD])) > 1:
        return fold
    return np.where(fold == NO_FOLD, NO_FOLD, np.arange(len(fold)) % INNER_FOLDS)
