"""The mean opinion of several heads, each of which learns by itself.

p(c | x) = mean over parts h of p_h(c | x)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.heads.base import Head, Logits
from mer_pipeline.heads.linear import log_softmax

FLOOR = 1e-12  # of a mean of probabilities, whose logarithm must be finite


class Mean(Head):
    """See the module; `parts` are those that were trained, some of the `fresh` ones."""

    parts: dict[str, Head]

    @abstractmethod
    def fresh(self) -> dict[str, Head]:
        """All heads that may be parts of it, by name, before they have learnt anything."""

    @abstractmethod
    def share(self, weights: dict[str, Matrix]) -> Matrix:
        """How much each modality counts, float32 (n, M), by what the parts say of it."""

    def score(self, group: Features) -> Logits:
        """See `Head`."""
        said = {name: part.score(group) for name, part in self.parts.items()}
        mean = np.mean([np.exp(log_softmax(one.values)) for one in said.values()], axis=0)
        return Logits(np.log(np.maximum(mean, FLOOR)), self.share({name: one.weights for name, one in said.items()}))

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        return {f"{name}.{key}": array for name, part in self.parts.items() for key, array in part.tensors().items()}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        self.parts = {}
        for name, part in self.fresh().items():
            own = {key.removeprefix(f"{name}."): a for key, a in tensors.items() if key.startswith(f"{name}.")}
            if own:
                part.restore(own)
                self.parts[name] = part
