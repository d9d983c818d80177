"""The result that every method of refinement returns: one label per clip, its posterior and the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.config.section import Count, Fraction, Section
from mer_pipeline.labels.votes import Votes


class LabelParams(Section):
    """How the votes on a training clip become the label that is trained on."""

    # given: no refinement; the others: docs/method.md
    method: Literal[
        "given",
        "majority",
        "weighted",
        "one-coin",
        "dawid-skene",
        "dirichlet-multinomial",
        "human-anchored",
        "consensus",
    ] = "consensus"
    # human-anchored: the label model of the posterior; auto: that of consensus
    model: Literal["auto", "one-coin", "dawid-skene", "dirichlet-multinomial"] = "auto"
    min_posterior: Fraction = 0.8  # human-anchored: the least posterior at which a label may change
    min_families: Count = 2  # human-anchored: the fewest other families that must vote for the new label
    max_changed: Fraction = 0.3  # human-anchored: the largest fraction of a class that may change
    join_dependent: bool = True  # consensus, human-anchored: whether dependent families count as one
    # consensus, human-anchored: whether the families are known to err independently; then none are joined, and three,
    # whose independence can't be tested, may change a given label
    independent: bool = False


@dataclass(frozen=True)
class Refined:
    """The refined labels of n clips.

    Attributes:
        label: int64 (n,), the index of each clip's refined label.
        posterior: float64 (n, C), a label model's posterior, the shares of the votes, or the one-hot given label.
        reason: one sentence per clip that says why it has its label.
    """

    label: NDArray[np.int64]
    posterior: NDArray[np.float64]
    reason: tuple[str, ...]


def most_likely(posterior: NDArray[np.float64], votes: Votes, classes: tuple[str, ...]) -> Refined:
    """Label each clip with the class of the highest posterior.

    In a tie, the given label wins if it is among the tied classes, and the first of them otherwise.
    """
    best = posterior.max(axis=1)
    label = np.where(posterior[np.arange(len(best)), votes.given] == best, votes.given, posterior.argmax(axis=1))
    reason = tuple(f"{classes[c]} has posterior {p:.2f}" for c, p in zip(label, best, strict=True))
    return Refined(label, posterior, reason)
