"""The head `ensemble`: the mean of the probabilities of those heads that ensemble selection keeps (selection.py).

    p(c | x) = mean over kept heads h of p_h(c | x)

The candidates are the heads in `train.heads`. The choice uses only the rows of the training job, so it does not depend
on the fold that the ensemble is scored on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self

import numpy as np

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.heads.base import ComputeConfig, Epoch, Head, Logits, TrainingJob
from mer_pipeline.heads.inner import job_for
from mer_pipeline.heads.linear import log_softmax
from mer_pipeline.heads.selection import select_heads
from mer_pipeline.heads.spec import Parts

FLOOR = 1e-12  # the least mean of probabilities, so that its logarithm is finite


class Ensemble(Head):
    """The mean of the probabilities of those heads that ensemble selection keeps.

    Attributes:
        parts: the kept heads by name.
    """

    Params = Parts
    params: Parts
    parts: dict[str, Head]

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

    def score(self, group: Features) -> Logits:
        """See `Head`. The share of a modality is the mean over the parts of its share of their absolute weights."""
        said = [part.score(group) for part in self.parts.values()]
        mean = np.mean([np.exp(log_softmax(one.values)) for one in said], axis=0)
        sizes = [np.abs(one.weights) for one in said]
        shares = [size / np.maximum(size.sum(axis=1, keepdims=True), FLOOR) for size in sizes]
        return Logits(np.log(np.maximum(mean, FLOOR)), np.asarray(np.mean(shares, axis=0)))

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        return {f"{name}.{key}": array for name, part in self.parts.items() for key, array in part.tensors().items()}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        self.parts = {}
        for part in self.params.parts:
            own = {k.removeprefix(f"{part.name}."): a for k, a in tensors.items() if k.startswith(f"{part.name}.")}
            if own:
                self.parts[part.name] = part.head(self.dims, self.classes, part.params)
                self.parts[part.name].restore(own)
