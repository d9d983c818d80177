"""The common parts of the label models that use EM: their result, the merging of equal rows, and the loop.

Clips with equal votes have equal posteriors, so EM runs on the distinct rows, each weighted by its number of clips.
This gives the same result several times as fast, and the result does not depend on the order of the clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.votes import MISSING

MAX_ITERATIONS = 200
TOLERANCE = 1e-7  # EM ends when no posterior changes by this much between two iterations
TINY = 1e-12  # replaces zero before a logarithm: the prior of a class without votes is zero
SMOOTH = 0.1  # the pseudo-clips of all classes together, as a fraction of the clips


@dataclass(frozen=True)
class Estimate:
    """The result of EM.

    Attributes:
        posterior: float64 (n, C), the probability of each class for each clip.
        prior: float64 (C,), the estimated share of each class.
        confusion: float64 (F, C, C), P(the family votes k | the class is c) at [family, c, k].
    """

    posterior: NDArray[np.float64]
    prior: NDArray[np.float64]
    confusion: NDArray[np.float64]


@dataclass(frozen=True)
class Distinct:
    """The m distinct rows of n clips.

    Attributes:
        rows: float64 (m, columns), sorted.
        back: int64 (n,), the index of each clip's row.
        weight: float64 (m,), the number of clips with each row.
    """

    rows: NDArray[np.float64]
    back: NDArray[np.intp]
    weight: NDArray[np.float64]


def distinct(*parts: NDArray[np.int64] | NDArray[np.float64]) -> Distinct:
    """Return the distinct rows of the arrays, each (n, ...), after flattening and joining them along the columns.

    Example:
        >>> found = distinct(np.array([[1, 0], [0, 0], [1, 0]]))
        >>> found.rows.tolist(), found.back.tolist(), found.weight.tolist()
        ([[0.0, 0.0], [1.0, 0.0]], [1, 0, 1], [1.0, 2.0])
    """
    table = np.concatenate([part.reshape(len(part), -1).astype(np.float64) for part in parts], axis=1)
    order = np.lexsort(table.T[::-1])  # np.unique(axis=0) sorts the same rows in eight times the time
    ordered = table[order]
    new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))[: len(table)]
    back = np.empty(len(table), dtype=np.intp)
    back[order] = np.cumsum(new) - 1
    return Distinct(ordered[new], back, np.bincount(back).astype(np.float64))


def expand(estimate: Estimate, back: NDArray[np.intp]) -> Estimate:
    """Return the estimate with one posterior per clip instead of one per distinct row."""
    return replace(estimate, posterior=estimate.posterior[back])


def shares(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each class's share of a clip's evidence, float64 (n, C); uniform where the clip has no evidence.

    Args:
        evidence: float64 (n, F, C), each family's counts or scores.
    """
    counts = evidence.sum(axis=1)
    total = counts.sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / evidence.shape[2])
    return found


def vote_shares(matrix: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return each class's share of a clip's votes, float64 (n, C); uniform where the clip has no vote.

    Args:
        matrix: int64 (n, F), the votes, MISSING where there is none.
        classes: the number C of classes.

    Example:
        >>> vote_shares(np.array([[0, 1, 1, -1], [-1, -1, -1, -1]]), classes=2).round(3).tolist()
        [[0.333, 0.667], [0.5, 0.5]]
    """
    return shares((matrix[:, :, None] == np.arange(classes)).astype(np.float64))


def smoothed_prior(clips: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shares of the classes, float64 (C,), with as many pseudo-clips of each, SMOOTH of all clips together.

    A share that is the mean posterior feeds on itself: the rarer a class is, the fewer clips are given to it, until it
    has none. With pseudo-clips no share falls below SMOOTH / (1 + SMOOTH) / C.

    Args:
        clips: float64 (C,), the expected number of clips of each class.

    Example:
        >>> smoothed_prior(np.array([100.0, 0.0])).round(3).tolist()
        [0.955, 0.045]
    """
    pseudo = max(1.0, SMOOTH * float(clips.sum()) / len(clips))
    smoothed: NDArray[np.float64] = (clips + pseudo) / (clips.sum() + len(clips) * pseudo)
    return smoothed


def softmax(log: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax along the last axis."""
    likelihood: NDArray[np.float64] = np.exp(log - log.max(axis=-1, keepdims=True))
    likelihood /= likelihood.sum(axis=-1, keepdims=True)
    return likelihood


def clamp(posterior: NDArray[np.float64], gold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the posterior (n, C) with a one-hot row wherever `gold` (n,) is not MISSING."""
    return np.where(gold[:, None] == MISSING, posterior, np.eye(posterior.shape[1])[gold])


def iterate(
    start: NDArray[np.float64],
    gold: NDArray[np.int64],
    step: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]],
    iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Estimate:
    """Repeat the M and E steps until no posterior changes by `tolerance`. Rows with a gold class stay one-hot.

    Args:
        start: float64 (m, C), the first posterior.
        gold: int64 (m,), the classes that are known beyond doubt, MISSING elsewhere.
        step: maps a posterior to the prior, the confusions and, by Bayes' rule, the next posterior.
        iterations: the most iterations, at least 1.
        tolerance: the change below which EM ends; 0 to run all iterations.
    """
    posterior = clamp(start, gold)
    prior = confusion = np.empty(0)
    for _ in range(iterations):
        before = posterior
        prior, confusion, posterior = step(before)
        posterior = clamp(posterior, gold)
        if np.abs(posterior - before).max() < tolerance:
            break
    return Estimate(posterior, prior, confusion)
