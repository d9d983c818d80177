"""What a head says of clips that it has not learnt from, as if one fold did not exist.

    clip of fold g ≠ f     a head that was trained without folds f and g
    clip without a label   for every g ≠ f what that head says; their mean is what all of them say

A vote or a pseudo-label that the head scored on fold f will learn from may not know fold f's labels. So for each f the
data is cross-validated without it; {f, g} and {g, f} are trained twice, because then each cross-validation is an
ordinary one, remembered like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mer_pipeline.base.modalities import Features, Mask, Matrix
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.training.cross_validation import Labels
from mer_pipeline.training.head_cache import HeadCache, key_of


@dataclass(frozen=True)
class Blind:
    """What heads that are blind to a fold say; k' folds are left.

    Attributes:
        labelled: float32 (n, C), of the labelled clips, out of fold.
        heard: bool (n,), false where a clip has nothing to go by.
        others: float32 (k', m, C), of other clips by the heads that were trained without fold g, at [g].
        others_heard: bool (k', m).
        made_from: digest of what the heads learnt from.
    """

    labelled: Matrix
    heard: Mask
    others: Matrix
    others_heard: Mask
    made_from: str


def ask_blind(
    head: HeadName,
    features: Features,
    labels: Labels,
    others: Features,
    classes: int,
    params: TrainParams,
    known: HeadCache,
    tick: Callable[[], None] = lambda: None,
) -> Blind:
    """Cross-validate on `labels` (of `without`), and ask each member about `others`.

    `features` are of `labels.clip_ids` and `labels.pseudo_ids`.
    """
    validated = known.cross_validate(head, features, labels, classes, params, tick)
    said = np.zeros((labels.folds, len(others), classes), dtype=np.float32)
    heard = np.ones((labels.folds, len(others)), dtype=bool)
    seeds = np.float32(len(validated.members) // max(labels.folds, 1))
    for one in validated.members:
        predicted = one.member.predict(others)
        said[one.fold] += predicted.probabilities / seeds
        heard[one.fold] &= ~predicted.by_prior
    made_from = key_of(head, features, labels, classes, params)
    return Blind(validated.probabilities.mean(axis=0), ~validated.by_prior, said, heard, made_from)
