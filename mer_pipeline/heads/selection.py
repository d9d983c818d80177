"""Ensemble selection: choose the heads of an ensemble by backward elimination inside a training job.

A head may be dropped if the mean without it has a higher weighted F1 on every inner fold. The selection starts with all
heads and drops the one whose absence raises F1 most, until none may be dropped. A mean is seldom worse than its parts,
so dropping a head needs evidence and keeping it does not. A higher F1 over all folds together is not enough, because
dropping some head nearly always raises that a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mer_pipeline.base.modalities import Features, Indices, Matrix
from mer_pipeline.config.train_params import HeadName
from mer_pipeline.heads.base import ComputeConfig, TrainingJob
from mer_pipeline.heads.inner import held_out, inner_folds
from mer_pipeline.heads.spec import HeadSpec
from mer_pipeline.scores.confusion import Confusion, FloatArray


def select_heads(
    parts: Sequence[HeadSpec], features: Features, jobs: Sequence[TrainingJob], classes: int, compute: ComputeConfig
) -> list[list[HeadName]]:
    """Return the names of the heads to keep for each job. A job whose training rows are of one fold keeps all heads."""
    kept = [[part.name for part in parts] for _ in jobs]
    at = [i for i, job in enumerate(jobs) if len(inner_folds(job)) > 1 and len(parts) > 1]
    if not at:
        return kept
    said = {part.name: held_out(part, features, [jobs[i] for i in at], classes, compute) for part in parts}
    for j, i in enumerate(at):
        known = said[kept[i][0]][j][1]
        opinions = {name: said[name][j][0][known] for name in kept[i]}
        kept[i] = keep(opinions, jobs[i].train.label[known], jobs[i].train.fold[known], classes)
    return kept


def keep(opinions: Mapping[HeadName, Matrix], label: Indices, fold: Indices, classes: int) -> list[HeadName]:
    """Return the names of the heads that backward elimination keeps.

    Args:
        opinions: the held-out probabilities of each head, float32 (n, C), by its name.
        label: int64 (n,), the index of each clip's class.
        fold: int64 (n,), the inner fold of each clip.
        classes: the number C of classes.

    Example:
        The second head is always wrong and outweighs the first one, so it is dropped:

        >>> right, wrong = np.array([[0.6, 0.4], [0.4, 0.6]] * 2), np.array([[0.0, 1.0], [1.0, 0.0]] * 2)
        >>> keep({"a": right, "b": wrong}, np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), classes=2)
        ['a']
    """
    inner = [np.flatnonzero(fold == f) for f in np.unique(fold)]

    def f1(names: Sequence[HeadName]) -> FloatArray:
        """Return the weighted F1 of the mean of these heads on each inner fold."""
        said = np.asarray(np.mean([opinions[name] for name in names], axis=0).argmax(axis=1))
        return np.array([Confusion.of(label[rows], said[rows], classes).weighted_f1 for rows in inner])

    names = list(opinions)
    while len(names) > 1:
        whole = f1(names)
        rises = [(f1([name for name in names if name != out]) - whole, out) for out in names]
        evident = [(float(rise.mean()), out) for rise, out in rises if (rise > 0).all()]
        if not evident:
            break
        names.remove(max(evident, key=lambda each: each[0])[1])
    return names
