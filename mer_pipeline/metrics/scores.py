"""Figures that several metric files have: a score, its interval, a class's line, a table of calibration.

Scores are fractions in 0..1 and are rounded to 6 digits, if nothing else is said.
"""

from __future__ import annotations

from typing import Literal

from mer_pipeline.metrics.base import Figures

Counts = tuple[tuple[int, ...], ...]  # (C, C): rows true, columns predicted


class Interval(Figures):
    """The middle 95 % of a score over resamples, and the `n` groups or clips that were drawn."""

    low: float
    high: float
    over: Literal["groups", "clips"]
    n: int


class Score(Figures):
    """Scores of predicted labels: means over seeds, and the standard deviation of the weighted F1 (ddof 0)."""

    n: int
    weighted_f1: float
    macro_f1: float
    uar: float
    weighted_f1_sd: float


class GroupedScore(Score):
    """A score with an interval of its weighted F1."""

    interval: Interval


class ClassScore(Figures):
    """One class's line of the per-class table; `support` is how many clips truly are of it."""

    precision: float
    recall: float
    f1: float
    support: int


class Bin(Figures):
    """Clips whose confidence is in ]low, high]: their mean confidence, and the share of them that is right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


class Calibration(Figures):
    """Errors of calibration of a head's probabilities, as the head gives them and tempered.

    Attributes:
        n: clips.
        ece: expected calibration error.
        ece_tempered: likewise, with a temperature that was fitted without these clips.
        ece_if_calibrated: the mean error that a calibrated head would have on so many clips.
        log_loss: mean cross-entropy, in nats.
        log_loss_tempered: likewise.
        bins: the reliability table.
        bins_tempered: likewise.
    """

    n: int
    ece: float
    ece_tempered: float
    ece_if_calibrated: float
    log_loss: float
    log_loss_tempered: float
    bins: tuple[Bin, ...]
    bins_tempered: tuple[Bin, ...]
