"""Whether a probability means what it says: of the clips that are given 0.8, four in five should be right.

    ECE = sum_b |b| / n |accuracy(b) - confidence(b)|        over 10 bins b of equal width of the confidence max_c p_c
    p_T = softmax(log p / T)                                  a head that is too sure has T > 1

The temperature T minimises the cross-entropy on predictions out of fold (Guo et al. 2017, On Calibration of Modern
Neural Networks). It is a convex problem in 1/T, and p_T has the order of p, so that no label changes.

Even a calibrated head has an ECE above 0, since the clips of a bin are few: `ece_if_calibrated` says how much.
"""

from __future__ import annotations

import numpy as np

from mer_pipeline.base.modalities import Indices, Mask, Matrix
from mer_pipeline.metrics.scores import Bin, Calibration
from mer_pipeline.scores.confusion import FloatArray

BINS = 10
SHARPEST, FLATTEST = 0.05, 20.0  # limits of T, for data that has none: all right, or worse than chance
FLOOR = 1e-12  # of a probability, in a logarithm
DRAWS, SEED = 200, 0  # of what a calibrated head would be right on


def temper(probabilities: Matrix, temperature: float) -> Matrix:
    """softmax(log p / T) of float32 (n, C)."""
    if temperature == 1:
        return probabilities
    log = np.log(np.maximum(probabilities.astype(np.float64), FLOOR)) / temperature
    raised = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


def fit_temperature(probabilities: Matrix, label: Indices) -> float:
    """The T of least cross-entropy, to 6 digits; 1 without clips.

    Args:
        probabilities: float32 (n, C).
        label: int64 (n,).
    """
    if not len(label):
        return 1.0
    log = np.log(np.maximum(probabilities.astype(np.float64), FLOOR))
    log -= log.max(axis=1, keepdims=True)
    said = log[np.arange(len(label)), label].mean()

    def slope(inverse: float) -> float:
        """Of the cross-entropy in 1/T: it only rises."""
        raised = np.exp(inverse * log)
        return float(((raised * log).sum(axis=1) / raised.sum(axis=1)).mean() - said)

    low, high = 1 / FLATTEST, 1 / SHARPEST
    while high - low > 1e-9 * low:
        half = (low + high) / 2
        low, high = (low, half) if slope(half) > 0 else (half, high)
    return round(1 / high, 6)


def temper_out_of_fold(probabilities: Matrix, label: Indices, fold: Indices) -> Matrix:
    """Each clip with the temperature of the other folds, so that what is said of the effect is not flattered."""
    tempered = probabilities.copy()
    for f in np.unique(fold):
        inside = fold == f
        tempered[inside] = temper(probabilities[inside], fit_temperature(probabilities[~inside], label[~inside]))
    return tempered


def log_loss(probabilities: Matrix, label: Indices) -> float:
    """Mean of -log p of the label, in nats; 0 without clips."""
    said = probabilities[np.arange(len(label)), label].astype(np.float64)
    return float(-np.log(np.maximum(said, FLOOR)).mean()) if len(label) else 0.0


def reliability_table(probabilities: Matrix, label: Indices) -> tuple[Bin, ...]:
    """The reliability table: BINS bins of the confidence."""
    confidence, right = _confidence(probabilities), probabilities.argmax(axis=1) == label
    n, sure, hit = (_per_bin(confidence, w) for w in (np.ones_like(confidence), confidence, right.astype(np.float64)))
    return tuple(
        Bin(
            low=b / BINS,
            high=(b + 1) / BINS,
            n=int(n[b]),
            confidence=round(float(sure[b] / max(n[b], 1)), 6),
            accuracy=round(float(hit[b] / max(n[b], 1)), 6),
        )
        for b in range(BINS)
    )


def expected_calibration_error(probabilities: Matrix, label: Indices) -> float:
    """ECE of float32 (n, C) against int64 (n,); 0 without clips."""
    return _ece(_confidence(probabilities), (probabilities.argmax(axis=1) == label).astype(np.float64))


def ece_if_calibrated(probabilities: Matrix) -> float:
    """Mean ECE that a perfectly calibrated head of these confidences would have on so many clips."""
    confidence, random = _confidence(probabilities), np.random.default_rng(SEED)
    drawn = ((random.random(len(confidence)) < confidence).astype(np.float64) for _ in range(DRAWS))
    return float(np.mean([_ece(confidence, right) for right in drawn]))


def calibration(before: Matrix, after: Matrix, label: Indices, told: Mask) -> Calibration:
    """Both sides of tempering.

    Args:
        before: float32 (n, C).
        after: float32 (n, C), tempered.
        label: int64 (n,).
        told: bool (n,), clips with something to go by; the prior of the others is no opinion to be judged.
    """
    before, after, label = before[told], after[told], label[told]
    return Calibration(
        n=len(label),
        ece=round(expected_calibration_error(before, label), 6),
        ece_tempered=round(expected_calibration_error(after, label), 6),
        ece_if_calibrated=round(ece_if_calibrated(after), 6),
        log_loss=round(log_loss(before, label), 6),
        log_loss_tempered=round(log_loss(after, label), 6),
        bins=reliability_table(before, label),
        bins_tempered=reliability_table(after, label),
    )


def _confidence(probabilities: Matrix) -> FloatArray:
    return np.asarray(probabilities.max(axis=1), dtype=np.float64)


def _ece(confidence: FloatArray, right: FloatArray) -> float:
    return float(np.abs(_per_bin(confidence, right - confidence)).sum() / max(len(confidence), 1))


def _per_bin(confidence: FloatArray, values: FloatArray) -> FloatArray:
    """Sums of values by bin of the confidence."""
    # To 6 digits, or 0.3 as float32 would lie above 3/10.
    bin_of = np.clip(np.ceil(np.round(confidence * BINS, 6)).astype(np.int64) - 1, 0, BINS - 1)
    return np.bincount(bin_of, weights=values, minlength=BINS).astype(np.float64)
