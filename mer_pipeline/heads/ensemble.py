"""The mean opinion of those of `train.heads` that nested cross-validation keeps (selection.py).

They are chosen on the job's own rows, so the fold that the ensemble is scored on has no part in it.
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
    """The mean opinion of those heads that nested cross-validation keeps.

    `parts` are the kept heads by name.
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
        """See `Head`; every part learns all that the ensemble's job has, whatever it was kept by."""
        ensembles = [cls(features.dims, classes, job.params) for job in jobs]
        parts = ensembles[0].params.parts  # as of all others: none of an ensemble's params are searched for
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
        """See `Mean`; the mean of the parts' shares."""
        sizes = [np.abs(own) for own in weights.values()]
        return np.asarray(
            np.mean([size / np.maximum(size.sum(axis=1, keepdims=True), FLOOR) for size in sizes], axis=0)
        )
