"""Which modality a prediction rests on, by leaving each out: the head's own weights α do not say it (docs/method.md).

    importance_m(x) = log p(c | x) - log p(c | x without m)

c is the predicted class, or the label where one is given. Positive: m spoke for c. Negative: m spoke against it. An
absent modality has 0. Two modalities that say the same cover for each other, and both have little: what is left out
alone is missed only as far as nobody else knows it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mer_pipeline.base.modalities import Features, Indices, Matrix

FLOOR = 1e-7  # of a probability: float32 has little more, and a logarithm must stay finite


def leave_one_out(predict: Callable[[Features], Matrix], features: Features, label: Indices | None = None) -> Matrix:
    """Mask one modality at a time at prediction time; nothing is trained anew.

    Args:
        predict: probabilities (n, C) of n clips, of one member or the mean of several; it answers, by the prior,
            for a clip that has nothing left.
        features: n clips, raw.
        label: int64 (n,), whose log-probability is followed; None: the predicted class.

    Returns:
        float32 (n, M), in nats.
    """
    whole, rows = predict(features), np.arange(len(features))
    of = whole.argmax(axis=1) if label is None else label
    left = []
    for m in range(len(features.names)):
        mask = features.mask.copy()
        mask[:, m] = False
        left.append(predict(Features(features.names, features.x, mask))[rows, of])
    logs = np.log(np.maximum(np.stack([whole[rows, of], *left], axis=1), FLOOR))
    return np.asarray(logs[:, :1] - logs[:, 1:], dtype=np.float32)
