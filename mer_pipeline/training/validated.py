"""The result of a cross-validation: members and out-of-fold predictions. `combine` makes that of a combination.

    ecmf       Validated ─┐
                          ├─ combine ─► ecmf+late    p(c | x) = 1/2 p_ecmf(c | x) + 1/2 p_logreg(c | x)
    logreg     Validated ─┘

A network sees all modalities at once and can learn which of them to trust where they disagree. Late fusion has only one
classifier and one weight per modality: it needs far fewer labels, and wrong labels hardly mislead it. The two are
trained separately, because in joint training the network overfits first. Nothing is trained for their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mer_pipeline.base.modalities import Mask, Matrix
from mer_pipeline.heads.base import Epoch
from mer_pipeline.training.member import Combination, Member, Predicted, mean_of
from mer_pipeline.training.search import FoldSearch


@dataclass(frozen=True)
class Trained:
    """One member, with its seed, its scored fold and its training history, which is empty for a combination."""

    seed: int
    fold: int
    member: Member | Combination
    history: list[Epoch]


@dataclass(frozen=True)
class Validated:
    """The members of a head from S seeds and k folds, and their out-of-fold predictions for n clips.

    Attributes:
        members: the members, by seed and then by fold.
        probabilities: float32 (S, n, C), out of fold.
        weights: float32 (S, n, M), the modality weights.
        by_prior: bool (n,), true where some member gave the training prior, because the clip lacks its modalities.
        searches: the searches that chose the params, one per fold and at the end that of no fold; None without search.
    """

    members: list[Trained]
    probabilities: Matrix
    weights: Matrix
    by_prior: Mask
    searches: list[FoldSearch] | None = None


def combine(own: Validated, late: Validated) -> Validated:
    """Return the combination of a head and late fusion.

    The modality weights are those of the head. Late fusion has one seed, which is combined with each seed of the head.
    """
    of_fold = {one.fold: one.member for one in late.members}
    members = []
    for one in own.members:
        beside = of_fold[one.fold]
        assert isinstance(one.member, Member)
        assert isinstance(beside, Member)
        members.append(Trained(one.seed, one.fold, Combination(one.member, beside), []))
    said = Predicted(late.probabilities[0], late.weights[0], late.by_prior)
    each = [
        mean_of(Predicted(probabilities, weights, own.by_prior), said)
        for probabilities, weights in zip(own.probabilities, own.weights, strict=True)
    ]
    return Validated(members, np.stack([one.probabilities for one in each]), own.weights, own.by_prior & late.by_prior)
