"""The head `ensemble`: the mean of the probabilities of those heads that ensemble selection keeps (selection.py).

The candidates are the heads in `train.heads`. The choice uses only the rows of the training job, so it does not depend
on the fold that the ensemble is scored on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.heads.base import ComputeConfig, Epoch, Head, TrainingJob
from mer_pipeline.heads.inner import job_for
from mer_pipeline.heads.mean import FLOOR, Mean
from mer_pipeline.heads.selection import select_heads
from mer_pipeline.heads.spec import Parts


class Ensemble(Mean):
    """The mean of the probabilities of those heads that ensemble selection keeps.

    Attributes:
        parts: the kept heads by name.
    """

    Params = Parts
    params: Parts

    @classmethod
    def fit_all(
        cls,
        features: Features,
        jobs: Sequence[TrainingJob],
        classes: int,
        compute: ComputeConfig,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """See `Head`. Every kept head is trained anew on all rows of the ensemble's job."""
        ensembles = [cls(features.dims, classes, job.params) for job in jobs]
        parts = ensembles[0].params.parts  # the same for all jobs, because no params of an ensemble are searched
        kept = select_heads(parts, features, jobs, classes, compute)
        for ensemble in ensembles:
            ensemble.parts = {}
        for part in parts:
            at = [i for i, names in enumerate(kept) if part.name in names]
            own = [job_for(part.head, jobs[i], part.params) for i in at]
            fitted = part.head.fit_all(features, own, classes, compute, lambda: None)
            for i, (head, _) in zip(at, fitted, strict=True):
                ensembles[i].parts[part.name] = head
        for _ in jobs:
            tick()
        return [(ensemble, []) for ensemble in ensembles]

    def fresh(self) -> dict[str, Head]:
        """See `Mean`."""
        return {part.name: part.head(self.dims, self.classes, part.params) for part in self.params.parts}

    def share(self, weights: dict[str, Matrix]) -> Matrix:
        """See `Mean`. The share of a modality is the mean over the parts of its share of their absolute weights."""
        sizes = [np.abs(own) for own in weights.values()]
        return np.asarray(
            np.mean([size / np.maximum(size.sum(axis=1, keepdims=True), FLOOR) for size in sizes], axis=0)
        )
