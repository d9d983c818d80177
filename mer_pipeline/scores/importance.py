"""Importance: how much log-probability a prediction loses when one modality is hidden.

    importance_m(x) = log p(c | x) - log p(c | x without m)

The class c is the predicted one, or the label if labels are given. A positive value means that modality m speaks for c,
a negative one that it speaks against c, and an absent modality has 0. If two modalities carry the same information,
both have low importance, because each one replaces the other when that is hidden. Importance is measured because the
modality weights α of a head don't show what a prediction depends on (docs/method.md).

Where sets of classes or numbers are predicted, there is no single predicted class. The importance is then how far the
probabilities or the numbers move, the mean absolute difference over the classes or dimensions (`moves_left_out`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mer_pipeline.base.modalities import Features, Indices, Matrix

FLOOR = 1e-7  # the least probability, about the precision of float32, so that logarithms stay finite


def leave_one_out(predict: Callable[[Features], Matrix], features: Features, label: Indices | None = None) -> Matrix:
    """Return the importance of each modality for each clip. Modalities are hidden in prediction; nothing is trained.

    Args:
        predict: returns the probabilities (n, C) of n clips, by one member or as the mean of several. A clip without
            any modality must get the training prior.
        features: the features of n clips, not standardised.
        label: int64 (n,), the classes c; None for the predicted classes.

    Returns:
        float32 (n, M), in nats.
    """
    return importance([predict(seen) for seen in hidden(features)], label)


def hidden(features: Features) -> list[Features]:
    """Return the features as they are, and once without each of the M modalities: M + 1 in all."""
    every = [features]
    for m in range(len(features.names)):
        mask = features.mask.copy()
        mask[:, m] = False
        every.append(Features(features.names, features.x, mask))
    return every


def importance(said: Sequence[Matrix], label: Indices | None = None) -> Matrix:
    """Return the importance of each modality from the probabilities for the features of `hidden`.

    Args:
        said: float32 (n, C), M + 1 times, as `hidden` orders them.
        label: as in `leave_one_out`.

    Returns:
        float32 (n, M), in nats.
    """
    whole, rows = said[0], np.arange(len(said[0]))
    of = whole.argmax(axis=1) if label is None else label
    logs = np.log(np.maximum(np.stack([one[rows, of] for one in said], axis=1), FLOOR))
    return np.asarray(logs[:, :1] - logs[:, 1:], dtype=np.float32)


def moves_left_out(predict: Callable[[Features], Matrix], features: Features) -> Matrix:
    """Return how far the outputs of each clip move when each modality is hidden, float32 (n, M), never negative.

    The arguments are those of `leave_one_out`; `predict` may return numbers.
    """
    whole, moves = predict(features), []
    for m in range(len(features.names)):
        mask = features.mask.copy()
        mask[:, m] = False
        moves.append(np.abs(predict(Features(features.names, features.x, mask)) - whole).mean(axis=1))
    return np.asarray(np.stack(moves, axis=1), dtype=np.float32)
