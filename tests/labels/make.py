"""Votes with known truth, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.dependence import most_named
from mer_pipeline.labels.votes import MISSING, Votes

Ints = NDArray[np.int64]
SOURCES = (0.80, 0.72, 0.70, 0.78, 0.25)  # the person and four judges


def as_votes(matrix: Ints, classes: int = 4, families: Sequence[Sequence[int]] | None = None) -> Votes:
    """A vote per column; the first is the given label, and each is a family of its own unless it is said."""
    n, sources = matrix.shape
    groups = [[w] for w in range(sources)] if families is None else [list(group) for group in families]
    single = tuple(matrix[:, group] for group in groups)
    return Votes(
        clip_ids=tuple(f"c{i:05d}" for i in range(n)),
        families=tuple(f"f{group[0]}" for group in groups),
        matrix=np.stack([most_named(columns, classes) for columns in single], axis=1),
        given=matrix[:, 0],
        spoken=("",) * n,
        sources=tuple(tuple("given" if w == 0 else f"s{w}" for w in group) for group in groups),
        single=single,
        evidence=np.stack([one_hot(columns, classes).sum(axis=1) for columns in single], axis=1),
        gold=np.full(n, MISSING),
    )


def one_hot(matrix: Ints, classes: int) -> NDArray[np.float64]:
    """Float64 (..., C); all zero where the vote is missing."""
    return (matrix[..., None] == np.arange(classes)).astype(np.float64)


def planted(
    n: int, accuracy: Sequence[float], missing: float = 0.1, seed: int = 0, classes: int = 4
) -> tuple[Ints, Ints]:
    """True labels, and votes of independent sources with these accuracies; the first votes always."""
    rng = np.random.default_rng(seed)
    true = rng.integers(classes, size=n)
    columns = []
    for w, right in enumerate(accuracy):
        said = np.where(rng.random(n) < right, true, (true + rng.integers(1, classes, size=n)) % classes)
        columns.append(np.where((rng.random(n) < missing) & (w > 0), MISSING, said))
    return true, np.stack(columns, axis=1)


def clique(n: int, seed: int, copy: float = 0.8, copier: int = 2, original: int = 1) -> tuple[Ints, Ints]:
    """The trap: SOURCES on six classes, of which one copies another on this fraction of the clips."""
    true, matrix = planted(n, SOURCES, missing=0.0, seed=seed, classes=6)
    rng = np.random.default_rng((seed, 1))
    matrix[:, copier] = np.where(rng.random(n) < copy, matrix[:, original], matrix[:, copier])
    gone = rng.random(matrix.shape) < 0.1
    gone[:, 0] = False
    return true, np.where(gone, MISSING, matrix)


def crowd(
    n: int, seed: int, rates: tuple[float, float], raters: int = 10, classes: int = 6
) -> tuple[Ints, NDArray[np.float64]]:
    """True labels and one family's counts, Dirichlet-multinomial with A on the true class and B on each other."""
    rng = np.random.default_rng(seed)
    true = rng.integers(classes, size=n)
    alpha = np.where(np.eye(classes)[true] == 1, rates[0], rates[1])
    draw = rng.standard_gamma(alpha)
    return true, rng.multinomial(raters, draw / draw.sum(axis=1, keepdims=True)).astype(np.float64)
