"""Make the target of each clip (`train.targets`) and its weight in the loss (`train.class_weights`).

The target of clip i with the refined label c is one of these distributions over the classes:

    hard        one-hot at c
    posterior   q_i, the label model's posterior from the votes without those of the held-out fold
    smoothed    T_c, where T_ck is the mean of q_ik over the rows labelled c: label smoothing with the measured
                confusion of the labels instead of one epsilon for all classes (Szegedy et al. 2016)

The weight of the clip is 1, or with `balanced` classes

    w_i = n / (C' n_c), so that each of the C' classes that occur has the same total weight

A pseudo-label has no posterior. A head that learns the probabilities that it gave itself learns nothing new. So unless
targets are hard, the target of a pseudo-label is T_c, the average target of its class.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mer_pipeline.base.modalities import Indices, Matrix
from mer_pipeline.config.train_params import CrossValidationParams
from mer_pipeline.heads.base import NO_FOLD, Examples


def as_asked(learnt: Examples, posterior: Matrix | None, params: CrossValidationParams) -> Examples:
    """Return a member's examples with the targets and weights that params ask for.

    Args:
        learnt: the examples, with hard targets and weight 1.
        posterior: float32 (n', C), the posterior of each labelled clip by its row. With None, targets stay hard.
        params: `targets` and `class_weights` are used.
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
    """Return T, float32 (C, C): row c is the mean posterior of the rows labelled c, or one-hot if there are none.

    Args:
        label: int64 (n,), the labels.
        posterior: float32 (n, C), the posterior of each row.

    Example:
        >>> confusion(np.array([0, 0]), np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    mean = np.eye(posterior.shape[1])
    for c in np.unique(label):
        mean[c] = posterior[label == c].mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)


def balanced(label: Indices) -> Matrix:
    """Return weights, float32 (n,), with the same sum for each class that occurs, and 1 on average.

    Example:
        >>> balanced(np.array([0, 0, 1, 1, 1, 1])).tolist()
        [1.5, 1.5, 0.75, 0.75, 0.75, 0.75]
    """
    _, at, count = np.unique(label, return_inverse=True, return_counts=True)
    return (len(label) / (len(count) * count))[at].astype(np.float32)
