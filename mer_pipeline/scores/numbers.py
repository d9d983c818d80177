"""Scores of predicted numbers, all of which are functions of sums over clips.

    CCC      2 s_xy / (s_x² + s_y² + (m_x - m_y)²)      concordance correlation coefficient (Lin 1989)
    Pearson  s_xy / (s_x s_y)                           correlation
    MAE      mean of |x - y|
    RMSE     root of the mean of (x - y)²

Means m, variances s² and the covariance s_xy are those of the population (divided by n). CCC and Pearson are 0 where
they are undefined, because predictions or labels are constant. As the sums of a resample are sums over groups, the
bootstrap needs one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mer_pipeline.base.modalities import Matrix
from mer_pipeline.scores.bootstrap import Units, times_drawn
from mer_pipeline.scores.confusion import FloatArray

LEAST = 1e-12  # a smaller share of the squares is rounding and no variance
Moments = FloatArray  # (..., 7): n, Σx, Σy, Σx², Σy², Σxy, Σ|x - y| of labels x and predictions y


def moments(true: Matrix | FloatArray, predicted: Matrix | FloatArray) -> Moments:
    """Return the terms of the sums for each clip, float64 (n, D, 7), for numbers (n, D)."""
    x, y = true.astype(np.float64), predicted.astype(np.float64)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(x - y)], axis=-1)


def ccc(sums: Moments) -> FloatArray:
    """Return the CCC, float64 (...), for sums (..., 7).

    Example:
        >>> each = moments(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [4.0]]))
        >>> ccc(each.sum(axis=0)).round(3).tolist()
        [0.857]
    """
    mx, my, vx, vy, both = _central(sums)
    return _ratio(2 * both, vx + vy + (mx - my) ** 2)


def pearson(sums: Moments) -> FloatArray:
    """Return the correlation, float64 (...), for sums (..., 7)."""
    _, _, vx, vy, both = _central(sums)
    return _ratio(both, np.sqrt(vx * vy))


def mae(sums: Moments) -> FloatArray:
    """Return the mean absolute error, float64 (...), for sums (..., 7)."""
    return np.asarray(sums[..., 6] / np.maximum(sums[..., 0], 1))


def rmse(sums: Moments) -> FloatArray:
    """Return the root mean square error, float64 (...), for sums (..., 7)."""
    square = sums[..., 3] + sums[..., 4] - 2 * sums[..., 5]
    return np.asarray(np.sqrt(np.maximum(square, 0) / np.maximum(sums[..., 0], 1)))


MEASURES: dict[str, Callable[[Moments], FloatArray]] = {"ccc": ccc, "pearson": pearson, "mae": mae, "rmse": rmse}


def resampled_ccc(true: Matrix, predicted: Matrix, units: Units) -> FloatArray:
    """Return the mean CCC over the dimensions in every resample, float64 (R,), for numbers (n, D)."""
    each = moments(true, predicted)
    own = np.zeros((units.count, *each.shape[1:]))
    np.add.at(own, units.of, each)
    flat = own.reshape(units.count, -1)
    sums = np.concatenate([times @ flat for times in times_drawn(units)])
    return np.asarray(ccc(sums.reshape(-1, *each.shape[1:])).mean(axis=1))


def _central(sums: Moments) -> tuple[FloatArray, ...]:
    """Return the means, the variances and the covariance; variances that are only rounding are 0."""
    n = np.maximum(sums[..., 0], 1)
    mx, my, xx, yy, xy = (sums[..., at] / n for at in range(1, 6))
    vx, vy = xx - mx**2, yy - my**2
    vx, vy = (np.where(v > LEAST * square, v, 0) for v, square in ((vx, xx), (vy, yy)))
    return mx, my, vx, vy, np.where((vx > 0) & (vy > 0), xy - mx * my, 0)


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))
