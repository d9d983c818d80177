"""Near copies: clips whose features are nearly equal in every modality that both have.

    d_m(i, j)^2 = ||x_i - x_j||^2 of standardised features, which is 2 D_m on average over pairs
    i and j are near copies where d_m(i, j) < NEAR sqrt(2 D_m) for every modality m that both have

A head that has learnt a clip by heart is right about its near copy. If the two are in different folds, a score can be
high on features that tell nothing. Copies of files are kept together already (datasets/duplicates.py); this finds what
is left: copies that were cut or encoded anew, and features that came without media.
"""

from __future__ import annotations

import numpy as np

from mer_pipeline.base.modalities import Features, Indices, Mask, Matrix
from mer_pipeline.scores.confusion import FloatArray

NEAR = 0.1  # of the typical distance of two clips
SKETCH, SEED = 64, 0  # columns of a random projection, which finds candidates fast
SLACK = 2.0  # a projected distance may be so much larger than NEAR allows
BLOCK = 512  # rows that are compared with all others at once


def near_copies(features: Features, part: Indices) -> list[tuple[int, int]]:
    """Return the pairs i < j of near copies that lie in different parts.

    Args:
        features: the features of n clips, not standardised. Modalities without variation are left out.
        part: int64 (n,), the part of each clip, such as its fold.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
        >>> x[7] = x[3] + 0.01
        >>> near_copies(Features(("voice",), (x,), np.ones((40, 1), bool)), np.arange(40) % 5)
        [(3, 7)]
    """
    scaled = [_standardised(x, there) for x, there in zip(features.x, features.mask.T, strict=True)]
    known = [m for m, x in enumerate(scaled) if x.shape[1]]
    random = np.random.default_rng(SEED)
    sketches = [_sketch(scaled[m], random) for m in known]
    found: list[tuple[int, int]] = []
    for start in range(0, len(part), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(part)))
        near = (part[rows, None] != part) & (rows[:, None] < np.arange(len(part)))
        shared = np.zeros_like(near)
        for m, sketch in zip(known, sketches, strict=True):
            both = features.mask[rows, None, m] & features.mask[:, m]
            near &= ~both | (_squared(sketch[rows], sketch) < (SLACK * NEAR) ** 2 * 2 * sketch.shape[1])
            shared |= both
        for i, j in np.argwhere(near & shared).tolist():
            if all(_near(scaled[m], start + i, j, features.mask[:, m]) for m in known):
                found.append((start + i, j))
    return found


def _standardised(x: Matrix, there: Mask) -> Matrix:
    """Return the columns that vary where the modality is present, with mean 0 and variance 1, float32 (n, D')."""
    own = x[there]
    if not len(own):
        return np.zeros((len(x), 0), np.float32)
    filled = np.isfinite(own).any(axis=0)
    mean, deviation = np.zeros(x.shape[1], np.float32), np.zeros(x.shape[1], np.float32)
    mean[filled], deviation[filled] = np.nanmean(own[:, filled], axis=0), np.nanstd(own[:, filled], axis=0)
    varies = deviation > 1e-6 * np.maximum(1, np.abs(mean))
    return np.asarray(np.nan_to_num((x[:, varies] - mean[varies]) / deviation[varies]), np.float32)


def _sketch(x: Matrix, random: np.random.Generator) -> Matrix:
    """Return a random projection that keeps distances on average (Johnson & Lindenstrauss 1984); x if it is narrow."""
    if x.shape[1] <= SKETCH:
        return x
    scale = x.shape[1] ** -0.5
    return np.asarray(x @ (scale * random.standard_normal((x.shape[1], SKETCH))).astype(np.float32))


def _squared(a: Matrix, b: Matrix) -> FloatArray:
    """Return the squared distance of each row of a to each row of b, float (n, n')."""
    return np.asarray((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T)


def _near(x: Matrix, i: int, j: int, there: Mask) -> bool:
    """Return whether two clips are near in a modality, or do not both have it."""
    return not (there[i] and there[j]) or float(((x[i] - x[j]) ** 2).sum()) < NEAR**2 * 2 * x.shape[1]
