"""Any number of clips through a head that scores groups of exactly GROUP: a clip's company changes no bit of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.heads.base import GROUP, Head
from mer_pipeline.heads.linear import log_softmax
from mer_pipeline.heads.scaler import Scaler


def groups(features: Features) -> Iterator[tuple[int, Features]]:
    """How many clips, and their features with rows without any modality after them, up to GROUP."""
    for start in range(0, len(features), GROUP):
        part = features.take(np.arange(start, min(start + GROUP, len(features))))
        short = GROUP - len(part)
        x = tuple(np.pad(matrix, ((0, short), (0, 0))) for matrix in part.x)
        yield len(part), Features(part.names, x, np.pad(part.mask, ((0, short), (0, 0))))


def probabilities(head: Head, scaler: Scaler, features: Features, classes: int) -> Matrix:
    """Float32 (n, C) of raw features; what it says of a clip without any modality means nothing."""
    parts = [np.exp(log_softmax(head.score(scaler.apply(group)).values))[:n] for n, group in groups(features)]
    return np.concatenate([np.zeros((0, classes), np.float32), *parts])
