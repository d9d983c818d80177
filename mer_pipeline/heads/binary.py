"""The head `binary`, linear late fusion for sets of classes: for each class, `logreg` on "has it" and "has not".

    v_c = log p_c(yes | x) - log p_c(no | x)        p_c: logreg.py with two classes, fitted for class c alone

Each class has its own strengths and its own weights of the modalities (binary relevance). That two classes often occur
together is not learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.heads.base import ComputeConfig, Epoch, Examples, Head, Logits, TrainingJob
from mer_pipeline.heads.logreg import LogReg, LogRegParams


class Binary(Head):
    """One `logreg` per class; the modality weights are the mean over the classes."""

    Params = LogRegParams
    seeded = False
    uses_validation = False
    kinds = frozenset({"multilabel"})
    params: LogRegParams

    @classmethod
    def fit_all(
        cls,
        features: Features,
        jobs: Sequence[TrainingJob],
        classes: int,
        compute: ComputeConfig,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """See `Head`."""
        del compute
        fitted = []
        for job in jobs:
            head = cls(features.dims, classes, job.params)
            own = job.scaler.apply(features.take(job.train.rows))
            head.each = [LogReg(features.dims, 2, job.params) for _ in range(classes)]
            for c, one in enumerate(head.each):
                one.fit(own, _has(job.train, c))
            fitted.append((head, list[Epoch]()))
            tick()
        return fitted

    def score(self, group: Features) -> Logits:
        """See `Head`."""
        said = [one.score(group) for one in self.each]
        values = np.stack([one.values[:, 1] - one.values[:, 0] for one in said], axis=1)
        return Logits(values, np.mean([one.weights for one in said], axis=0))

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        return {f"{c}.{name}": part for c, one in enumerate(self.each) for name, part in one.tensors().items()}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        self.each = [LogReg(self.dims, 2, self.params) for _ in range(self.classes)]
        for c, one in enumerate(self.each):
            prefix = f"{c}."
            one.restore({key.removeprefix(prefix): a for key, a in tensors.items() if key.startswith(prefix)})


def _has(train: Examples, c: int) -> Examples:
    """Return the examples with two classes in place of the sets: without class c (0) and with it (1)."""
    label = (train.target[:, c] > 0).astype(np.int64)
    return replace(train, label=label, target=np.eye(2, dtype=np.float32)[label], kind="class")
