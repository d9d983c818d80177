"""Which heads an ensemble keeps: backward elimination on opinions that are held out inside the lesson.

Beginning with all heads, the one whose absence raises the weighted F1 of the mean most is dropped, until no absence
raises it. A mean seldom loses to its parts, so it takes evidence to be dropped, not to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mer_pipeline.fusion.features import Features, Matrix, Rows
from mer_pipeline.fusion.heads.base import Lesson, Place
from mer_pipeline.fusion.heads.inner import held_out, inner_folds
from mer_pipeline.fusion.heads.parts import PARTS
from mer_pipeline.fusion.metrics import Confusion
from mer_pipeline.params import HeadName, TrainParams


def candidates(params: TrainParams) -> list[HeadName]:
    """The heads that an ensemble may be of: those of `train.heads`, or all where it stands there alone."""
    return [name for name in PARTS if name in params.heads] or list(PARTS)


def choose(features: Features, lessons: Sequence[Lesson], classes: int, place: Place) -> list[list[HeadName]]:
    """The heads to keep, of each lesson; all where there is nothing to judge by, its rows being of one fold."""
    kept = [candidates(lesson.params) for lesson in lessons]
    at = [i for i, lesson in enumerate(lessons) if len(inner_folds(lesson)) > 1 and len(kept[i]) > 1]
    names = dict.fromkeys(name for i in at for name in kept[i])
    said = {name: held_out(PARTS[name], features, [lessons[i] for i in at], classes, place) for name in names}
    for j, i in enumerate(at):
        known = said[kept[i][0]][j][1]
        opinions = {name: said[name][j][0][known] for name in kept[i]}
        kept[i] = keep(opinions, lessons[i].train.label[known], classes)
    return kept


def keep(opinions: Mapping[HeadName, Matrix], label: Rows, classes: int) -> list[HeadName]:
    """The names that remain; opinions are held-out probabilities float32 (n, C), label int64 (n,)."""

    def f1(names: Sequence[HeadName]) -> float:
        mean = np.mean([opinions[name] for name in names], axis=0)
        return Confusion.of(label, np.asarray(mean.argmax(axis=1)), classes).weighted_f1

    names = list(opinions)
    while len(names) > 1:
        fewer = max(([name for name in names if name != out] for out in names), key=f1)
        if f1(fewer) <= f1(names):
            break
        names = fewer
    return names
