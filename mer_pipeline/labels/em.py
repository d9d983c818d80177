"""What the EM models of votes share: their result, clips with equal votes as one row, and the loop.

Clips that nobody can tell apart have one posterior, so EM runs on distinct rows with their multiplicity: the result
is the same, several times as fast, and does not depend on the order of the clips by even a bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.votes import MISSING

MAX_ITERATIONS = 200
TOLERANCE = 1e-7  # of any posterior between two iterations
TINY = 1e-12  # a class that nobody votes for has prior zero, and log needs a number


@dataclass(frozen=True)
class Estimate:
    """What EM found.

    Attributes:
        posterior: float64 (n, C), of each clip's true class.
        prior: float64 (C,).
        confusion: float64 (F, C, C), P(family votes k | true class c) at [family, c, k].
    """

    posterior: NDArray[np.float64]
    prior: NDArray[np.float64]
    confusion: NDArray[np.float64]


@dataclass(frozen=True)
class Distinct:
    """Rows that differ.

    Attributes:
        rows: (m, ...), sorted.
        back: int64 (n,), which of them each clip has.
        weight: float64 (m,), how many clips have it.
    """

    rows: NDArray[np.float64]
    back: NDArray[np.intp]
    weight: NDArray[np.float64]


def distinct(*parts: NDArray[np.int64] | NDArray[np.float64]) -> Distinct:
    """The distinct rows of arrays (n, ...) laid side by side."""
    table = np.concatenate([part.reshape(len(part), -1).astype(np.float64) for part in parts], axis=1)
    order = np.lexsort(table.T[::-1])  # np.unique(axis=0) sorts the same rows in eight times the time
    ordered = table[order]
    new = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))[: len(table)]
    back = np.empty(len(table), dtype=np.intp)
    back[order] = np.cumsum(new) - 1
    return Distinct(ordered[new], back, np.bincount(back).astype(np.float64))


def expand(estimate: Estimate, back: NDArray[np.intp]) -> Estimate:
    """From distinct rows back to clips."""
    return replace(estimate, posterior=estimate.posterior[back])


def shares(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Float64 (n, C): the share that each class has of a clip's evidence (n, F, C); uniform where there is none."""
    counts = evidence.sum(axis=1)
    total = counts.sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / evidence.shape[2])
    return found


def vote_shares(matrix: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """The same for votes (n, F)."""
    return shares((matrix[:, :, None] == np.arange(classes)).astype(np.float64))


def softmax(log: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis."""
    likelihood: NDArray[np.float64] = np.exp(log - log.max(axis=-1, keepdims=True))
    likelihood /= likelihood.sum(axis=-1, keepdims=True)
    return likelihood


def clamp(posterior: NDArray[np.float64], gold: NDArray[np.int64]) -> NDArray[np.float64]:
    """One-hot where gold is not MISSING, the posterior elsewhere."""
    return np.where(gold[:, None] == MISSING, posterior, np.eye(posterior.shape[1])[gold])


def iterate(
    start: NDArray[np.float64],
    gold: NDArray[np.int64],
    step: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]],
    iterations: int = MAX_ITERATIONS,
    tolerance: float = TOLERANCE,
) -> Estimate:
    """Repeat M and E until no posterior moves by `tolerance`; gold rows stay where they are.

    Args:
        start: posterior (m, C).
        gold: int64 (m,), MISSING where the class is not known.
        step: from a posterior to prior, confusion and, by Bayes' rule on these, the next posterior.
        iterations: at most, at least 1.
        tolerance: see above; 0 for all iterations.
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
