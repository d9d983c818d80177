"""The head `binary`, linear late fusion for sets of classes: for each class, `logreg` on "has it" and "has not".

    v_c = log p_c(yes | x) - log p_c(no | x)        p_c: logreg.py with two classes, fitted for class c alone

Each class has its own strengths and its own weights of the modalities (binary relevance). That two classes often occur
together is not learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.heads.base import Examples, Logits
from mer_pipeline.heads.fitted import FittedHead
from mer_pipeline.heads.logreg import LogReg, LogRegParams


class Binary(FittedHead):
    """One `logreg` per class; the modality weights are the mean over the classes."""

    Params = LogRegParams
    kinds = frozenset({"multilabel"})
    params: LogRegParams

    def fit(self, features: Features, train: Examples) -> None:
        """See `FittedHead`."""
        self.each = [LogReg(self.dims, 2, self.params) for _ in range(self.classes)]
        for c, one in enumerate(self.each):
            one.fit(features, _has(train, c))

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
