"""Score any number of clips with a head that takes groups of exactly GROUP clips.

All groups have the same shape, so the result for a clip does not depend on the other clips.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.heads.base import GROUP, Head
from mer_pipeline.heads.linear import log_softmax
from mer_pipeline.heads.scaler import Scaler


def groups(features: Features) -> Iterator[tuple[int, Features]]:
    """Yield groups of GROUP rows, each with its number of clips; rows without any modality fill the last group."""
    for start in range(0, len(features), GROUP):
        part = features.take(np.arange(start, min(start + GROUP, len(features))))
        short = GROUP - len(part)
        x = tuple(np.pad(matrix, ((0, short), (0, 0))) for matrix in part.x)
        yield len(part), Features(part.names, x, np.pad(part.mask, ((0, short), (0, 0))))


def probabilities(head: Head, scaler: Scaler, features: Features, classes: int) -> Matrix:
    """Return the head's probabilities for raw features, float32 (n, C).

    The values for a clip without any modality are meaningless.
    """
    parts = [np.exp(log_softmax(head.score(scaler.apply(group)).values))[:n] for n, group in groups(features)]
    return np.concatenate([np.zeros((0, classes), np.float32), *parts])
