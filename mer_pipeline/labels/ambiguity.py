"""The posterior by evidence that is fixed, on clips that are clear or ambiguous.

A fraction h of the clips is ambiguous between two classes: every family sees one of them, each with probability 1/2 and
independently of the others (hierarchical.py). Only h is estimated here, by EM.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.em import softmax

Floats = NDArray[np.float64]

AMBIGUOUS, STRENGTH = 0.05, 1.0  # the prior of h: its mean, and its weight in clips
ITERATIONS = 40


def ambiguous_posterior(evidence: Sequence[Floats], prior: Floats) -> Floats:
    """Return the posterior, float64 (n, C).

    Args:
        evidence: for each family float64 (n, C), log P(its votes on the clip | class) up to a constant per clip.
        prior: float64 (C,), the shares of the classes.
    """
    classes = len(prior)
    pairs = np.array(list(combinations(range(classes), 2)))
    clear = np.sum(evidence, axis=0)
    either = np.sum([either_of(each, pairs) for each in evidence], axis=0)
    both = np.concatenate([clear, either], axis=1)
    h = AMBIGUOUS
    for _ in range(ITERATIONS):
        joint = softmax(log_shares(prior, h, pairs) + both)
        among = float(np.sort(joint[:, classes:].sum(axis=1)).sum())
        h = (among + STRENGTH * AMBIGUOUS) / (len(joint) + STRENGTH)
    return of_class(joint, prior, pairs)


def either_of(log: Floats, pairs: NDArray[np.int64]) -> Floats:
    """Return the log of the mean of two classes' likelihoods, float64 (n, J), for log-likelihoods (n, C)."""
    either: Floats = np.logaddexp(log[:, pairs[:, 0]], log[:, pairs[:, 1]]) - np.log(2)
    return either


def log_shares(prior: Floats, h: float, pairs: NDArray[np.int64]) -> Floats:
    """Return the log of the shares of clear clips of each class and of ambiguous ones of each pair, (C + J,)."""
    first, second = pairs.T
    clear = np.log1p(-h) + np.log(prior)
    ambiguous = np.log(h / (len(prior) - 1)) + np.log(prior[first] + prior[second])
    return np.concatenate([clear, ambiguous])


def of_class(joint: Floats, prior: Floats, pairs: NDArray[np.int64]) -> Floats:
    """Return P(the clip is of class c), float64 (n, C), of those of clear and ambiguous clips (n, C + J)."""
    classes, (c, d) = len(prior), pairs.T
    first = prior[c] / (prior[c] + prior[d])
    share = np.zeros((len(pairs), classes))
    share[np.arange(len(pairs)), c], share[np.arange(len(pairs)), d] = first, 1 - first
    # `einsum` adds in a fixed order; the rounding of a BLAS depends on the number of threads.
    posterior: Floats = joint[:, :classes] + np.einsum("nj,jc->nc", joint[:, classes:], share)
    return posterior
