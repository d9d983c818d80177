"""What a head learns of a clip (`train.targets`), and how much the clip counts (`train.class_weights`).

    hard        the refined label c alone
    posterior   q_i, how probable the label model finds each class, by votes without the held-out fold's
    smoothed    T_c, T_ck = mean of q_ik over the rows that are labelled c: label smoothing by the confusion that was
                measured, in place of the same epsilon for all classes (Szegedy et al. 2016)

    balanced    w_i = n / (C' n_c): each of the C' classes that occur weighs the same, and a row 1 on average

A pseudo-label has no posterior. The head that gave it has scores, but one that learns its own scores learns nothing,
so where targets are not hard such a row's is T_c: as unsure as labels of its class are on average.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mer_pipeline.base.modalities import Indices, Matrix
from mer_pipeline.config.train_params import CrossValidationParams
from mer_pipeline.heads.base import NO_FOLD, Examples


def as_asked(learnt: Examples, posterior: Matrix | None, params: CrossValidationParams) -> Examples:
    """The rows that one member learns from and is validated on, with the targets and weights that params ask for.

    Args:
        learnt: n rows, with hard targets.
        posterior: float32 (n', C) by row, of labelled clips; None: there is none, and targets stay hard.
        params: `targets` and `class_weights`.
    """
    if params.targets != "hard" and posterior is not None:
        labelled = learnt.fold != NO_FOLD
        own = posterior[learnt.rows[labelled]]
        target = confusion(learnt.label[labelled], own)[learnt.label]
        if params.targets == "posterior":
            target[labelled] = own
        learnt = replace(learnt, target=target)
    if params.class_weights == "balanced":
        learnt = replace(learnt, weight=balanced(learnt.label))
    return learnt


def confusion(label: Indices, posterior: Matrix) -> Matrix:
    """Float32 (C, C), T: row c is the mean posterior of the rows labelled c, or c alone where there are none."""
    mean = np.eye(posterior.shape[1])
    for c in np.unique(label):
        mean[c] = posterior[label == c].mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def balanced(label: Indices) -> Matrix:
    """Float32 (n,): weights of which each class that occurs has the same sum, 1 on average."""
    _, at, count = np.unique(label, return_inverse=True, return_counts=True)
    return (len(label) / (len(count) * count))[at].astype(np.float32)
