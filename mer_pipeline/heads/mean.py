"""The mean of the probabilities of several heads, which are trained separately.

p(c | x) = mean over parts h of p_h(c | x)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.heads.base import Head, Logits
from mer_pipeline.heads.linear import log_softmax

FLOOR = 1e-12  # the least mean of probabilities, so that its logarithm is finite


class Mean(Head):
    """The base class of heads that average the probabilities of other heads.

    Attributes:
        parts: the trained heads by name; all or some of those that `fresh` returns.
    """

    parts: dict[str, Head]

    @abstractmethod
    def fresh(self) -> dict[str, Head]:
        """Return all heads that may be parts, by name, before training."""

    @abstractmethod
    def share(self, weights: dict[str, Matrix]) -> Matrix:
        """Return the modality weights, float32 (n, M), from those of the parts by name."""

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
