"""Calibration: whether a head is right as often as its probabilities say.

Of the clips that are predicted with a probability of 0.8, four in five should be right.

    ECE = sum_b |b| / n |accuracy(b) - confidence(b)|        over 10 bins b of equal width of the confidence max_c p_c
    log loss = mean of -log p_y, Brier score = mean of sum_c (p_c - [c = y])^2       y: the label
    p_T = softmax(log p / T)                                 T > 1 corrects an overconfident head

The temperature T minimises the cross-entropy on out-of-fold predictions (Guo et al. 2017, On Calibration of Modern
Neural Networks). This is a convex problem in 1/T. The order of the classes is the same in p_T and p, so no label
changes.

Even a calibrated head has an ECE above 0, because a bin has few clips; `ece_if_calibrated` estimates how much.
"""

from __future__ import annotations

import numpy as np

from mer_pipeline.base.modalities import Indices, Mask, Matrix
from mer_pipeline.metrics.scores import Bin, Calibration
from mer_pipeline.scores.confusion import FloatArray

BINS = 10
SHARPEST, FLATTEST = 0.05, 20.0  # limits of T, for data without a minimum: all clips right, or worse than chance
FLOOR = 1e-12  # the least probability before a logarithm
DRAWS, SEED = 200, 0  # of the simulation of a calibrated head


def temper(probabilities: Matrix, temperature: float) -> Matrix:
    """Return softmax(log p / T), float32 (n, C), for probabilities p, float32 (n, C).

    Example:
        >>> [round(float(p), 2) for p in temper(np.array([[0.8, 0.2]], dtype=np.float32), 2.0)[0]]
        [0.67, 0.33]
    """
    if temperature == 1:
        return probabilities
    log = np.log(np.maximum(probabilities.astype(np.float64), FLOOR)) / temperature
    raised = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


def fit_temperature(probabilities: Matrix, label: Indices) -> float:
    """Return the temperature T with the lowest cross-entropy, rounded to 6 digits; 1 without clips.

    Args:
        probabilities: float32 (n, C).
        label: int64 (n,), the class indices to compare with.

    Example:
        The head gives 0.9 to its predictions, but only three of four are right:

        >>> fit_temperature(np.array([[0.9, 0.1]] * 4), np.array([0, 0, 0, 1]))
        2.0
    """
    if not len(label):
        return 1.0
    log = np.log(np.maximum(probabilities.astype(np.float64), FLOOR))
    log -= log.max(axis=1, keepdims=True)
    said = log[np.arange(len(label)), label].mean()

    def slope(inverse: float) -> float:
        """Return the derivative of the cross-entropy by 1/T, which never decreases."""
        raised = np.exp(inverse * log)
        return float(((raised * log).sum(axis=1) / raised.sum(axis=1)).mean() - said)

    low, high = 1 / FLATTEST, 1 / SHARPEST
    while high - low > 1e-9 * low:
        half = (low + high) / 2
        low, high = (low, half) if slope(half) > 0 else (half, high)
    return round(1 / high, 6)


def temper_out_of_fold(probabilities: Matrix, label: Indices, fold: Indices) -> Matrix:
    """Apply to each clip the temperature that is fitted on the other folds, for an unbiased measure of its effect.

    Args:
        probabilities: float32 (n, C), out of fold.
        label: int64 (n,), the class indices to compare with.
        fold: int64 (n,), the fold of each clip.
    """
    tempered = probabilities.copy()
    for f in np.unique(fold):
        inside = fold == f
        tempered[inside] = temper(probabilities[inside], fit_temperature(probabilities[~inside], label[~inside]))
    return tempered


def log_loss(probabilities: Matrix, label: Indices) -> float:
    """Return the mean of -log p of the labels, in nats; 0 without clips."""
    said = probabilities[np.arange(len(label)), label].astype(np.float64)
    return float(-np.log(np.maximum(said, FLOOR)).mean()) if len(label) else 0.0


def brier(probabilities: Matrix, label: Indices) -> float:
    """Return the Brier score of probabilities, float32 (n, C), against labels, int64 (n,); 0 without clips.

    It is the mean over the clips of the squared distance to the one-hot label, from 0 to 2 (Brier 1950).

    Example:
        >>> brier(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 1]))
        1.25
    """
    if not len(label):
        return 0.0
    truth = np.eye(probabilities.shape[1])[label]
    return float(((probabilities.astype(np.float64) - truth) ** 2).sum(axis=1).mean())


def reliability_table(probabilities: Matrix, label: Indices) -> tuple[Bin, ...]:
    """Return the data of a reliability diagram, with BINS bins of the confidence."""
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
    """Return the ECE of probabilities, float32 (n, C), against labels, int64 (n,); 0 without clips."""
    return _ece(_confidence(probabilities), (probabilities.argmax(axis=1) == label).astype(np.float64))


def ece_if_calibrated(probabilities: Matrix) -> float:
    """Return the mean ECE that a perfectly calibrated head would have with these confidences on as many clips."""
    confidence, random = _confidence(probabilities), np.random.default_rng(SEED)
    drawn = ((random.random(len(confidence)) < confidence).astype(np.float64) for _ in range(DRAWS))
    return float(np.mean([_ece(confidence, right) for right in drawn]))


def calibration(before: Matrix, after: Matrix, label: Indices, told: Mask) -> Calibration:
    """Return the calibration before and after the temperature is applied.

    Args:
        before: float32 (n, C), the probabilities of the head.
        after: float32 (n, C), the same with the temperature applied.
        label: int64 (n,), the class indices to compare with.
        told: bool (n,), true for a clip with a modality. The others are left out, because they get the training prior.
    """
    before, after, label = before[told], after[told], label[told]
    return Calibration(
        n=len(label),
        ece=round(expected_calibration_error(before, label), 6),
        ece_tempered=round(expected_calibration_error(after, label), 6),
        ece_if_calibrated=round(ece_if_calibrated(after), 6),
        log_loss=round(log_loss(before, label), 6),
        log_loss_tempered=round(log_loss(after, label), 6),
        brier=round(brier(before, label), 6),
        brier_tempered=round(brier(after, label), 6),
        bins=reliability_table(before, label),
        bins_tempered=reliability_table(after, label),
    )


def _confidence(probabilities: Matrix) -> FloatArray:
    return np.asarray(probabilities.max(axis=1), dtype=np.float64)


def _ece(confidence: FloatArray, right: FloatArray) -> float:
    return float(np.abs(_per_bin(confidence, right - confidence)).sum() / max(len(confidence), 1))


def _per_bin(confidence: FloatArray, values: FloatArray) -> FloatArray:
    """Return the sum of the values in each bin of the confidence, float64 (BINS,)."""
    # Rounded to 6 digits, because 0.3 as float32 is above 3/10 and would be in the next bin.
    bin_of = np.clip(np.ceil(np.round(confidence * BINS, 6)).astype(np.int64) - 1, 0, BINS - 1)
    return np.bincount(bin_of, weights=values, minlength=BINS).astype(np.float64)
