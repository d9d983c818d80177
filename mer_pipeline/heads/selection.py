"""Which heads an ensemble keeps: backward elimination on opinions held out inside a training job.

A head may go if the mean without it has a higher weighted F1 on every inner fold. Beginning with all heads, the one
whose absence raises it most goes, until none may. A mean seldom loses to its parts, so it takes evidence to be dropped,
not to be kept; and a rise over all folds together is none, since some absence nearly always raises it a little.
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
    """The heads to keep, of each job; all where there is nothing to judge by, its rows being of one fold."""
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
    """The names that remain; opinions are held-out probabilities float32 (n, C), label and fold int64 (n,)."""
    inner = [np.flatnonzero(fold == f) for f in np.unique(fold)]

    def f1(names: Sequence[HeadName]) -> FloatArray:
        """Of their mean, on each inner fold."""
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
