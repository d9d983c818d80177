"""Cross-validation inside a lesson: what heads say of its own training rows, each fold of them left out in turn.

Whatever is chosen by this never sees the fold that the lesson's head is scored on: that one is in no lesson. The fold
that is used for validation stays the same, and is in no inner score either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mer_pipeline.heads.base import NO_FOLD, ComputeConfig, Head, Lesson
from mer_pipeline.heads.groups import probabilities
from mer_pipeline.heads.scaler import Scaler
from mer_pipeline.heads.spec import HeadSpec
from mer_pipeline.modalities import Features, Mask, Matrix
from mer_pipeline.section import Section


def suited(head: type[Head], lesson: Lesson, params: Section) -> Lesson:
    """The lesson as a head learns it: by its own params, and from the validation fold too where it needs none."""
    lesson = replace(lesson, params=params)
    if head.uses_validation or lesson.validation is None:
        return lesson
    return replace(lesson, train=lesson.train.and_(lesson.validation), validation=None)


def inner_folds(lesson: Lesson) -> list[int]:
    """The folds of its training rows."""
    return [fold for fold in np.unique(lesson.train.fold).tolist() if fold != NO_FOLD]


def without(lesson: Lesson, fold: int, features: Features) -> Lesson:
    """The lesson without a fold of its training rows, standardised without it too."""
    train = lesson.train.at(np.flatnonzero(lesson.train.fold != fold))
    return replace(lesson, train=train, scaler=Scaler.fit(features.take(train.rows)))


def held_out(
    head: HeadSpec, features: Features, lessons: Sequence[Lesson], classes: int, compute: ComputeConfig
) -> list[tuple[Matrix, Mask]]:
    """Of each lesson with two folds or more: probabilities float32 (n, C) of its n training rows, and where there are.

    All inner members of all lessons train at once.
    """
    inner = [(at, fold, without(one, fold, features)) for at, one in enumerate(lessons) for fold in inner_folds(one)]
    quiet: Callable[[], None] = lambda: None  # noqa: E731  (a member of a member is no progress)
    own = [suited(head.head, lesson, head.params) for *_, lesson in inner]
    fitted = head.head.fit_all(features, own, classes, compute, quiet)
    said = [
        (np.zeros((len(one.train.rows), classes), np.float32), np.zeros(len(one.train.rows), dtype=bool))
        for one in lessons
    ]
    for (at, fold, lesson), (learnt, _) in zip(inner, fitted, strict=True):
        rows = np.flatnonzero(lessons[at].train.fold == fold)
        scored = features.take(lessons[at].train.rows[rows])
        told, known = said[at]
        told[rows] = probabilities(learnt, lesson.scaler, scored, classes)
        known[rows] = (scored.mask & lesson.scaler.known).any(axis=1)
    return said
