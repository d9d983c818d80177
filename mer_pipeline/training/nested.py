"""Nested predictions: a head predicts clips that it has not learnt from, as if a fold f did not exist.

    clip of fold g ≠ f     is predicted by a head that was trained without folds f and g
    clip without a label   is predicted by each of these heads; the mean over g is their common prediction

A vote or a pseudo-label that the head scored on fold f learns from must not depend on the labels of fold f. So the data
is cross-validated without each fold f. The heads without {f, g} are trained twice, once for f and once for g. In
return, each of these is an ordinary cross-validation, which the head cache keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mer_pipeline.base.modalities import Features, Mask, Matrix
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.training.head_cache import HeadCache, key_of
from mer_pipeline.training.labels import Labels


@dataclass(frozen=True)
class Blind:
    """The predictions of heads that have not seen one fold, where k' other folds are left.

    Attributes:
        labelled: float32 (n, C), out-of-fold probabilities of the labelled clips of these folds.
        heard: bool (n,), false where a clip has no modality.
        others: float32 (k', m, C), at [g] the probabilities of other clips by the heads trained without fold g.
        others_heard: bool (k', m), false where such a clip has no modality.
        made_from: the digest of everything that the heads learnt from.
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
    """Cross-validate a head on labels without one fold, and predict other clips by each member.

    Args:
        head: the name of the head in `params`.
        features: the features of `labels.all_ids`, not standardised.
        labels: labels that `without` returned, with or without pseudo-labels.
        others: the features of the m other clips.
        classes: the number of classes.
        params: the section `train`.
        known: the head cache.
        tick: called after each member.
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
