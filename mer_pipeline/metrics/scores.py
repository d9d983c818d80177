"""The parts that several metric files share: scores, intervals, scores per class, and calibration.

Scores are fractions from 0 to 1, rounded to 6 digits unless stated otherwise.
"""

from __future__ import annotations

from typing import Literal

from mer_pipeline.metrics.base import Figures

Counts = tuple[tuple[int, ...], ...]  # (C, C): rows true, columns predicted


class Interval(Figures):
    """The middle 95 % of a score over resamples of `n` groups or clips; `over` says which."""

    low: float
    high: float
    over: Literal["groups", "clips"]
    n: int


class Score(Figures):
    """The scores of predictions: of the most probable classes, and of the probabilities as the head says them.

    Attributes:
        n: the number of clips.
        weighted_f1: the weighted F1, the mean over the seeds.
        macro_f1: the unweighted mean of the classes' F1, the mean over the seeds.
        uar: the unweighted average recall, the mean over the seeds.
        weighted_f1_sd: the standard deviation of the weighted F1 over the seeds (ddof 0).
        log_loss: the cross-entropy in nats, the mean over the seeds.
        ece: the expected calibration error, the mean over the seeds.
        brier: the Brier score, from 0 to 2, the mean over the seeds.
    """

    n: int
    weighted_f1: float
    macro_f1: float
    uar: float
    weighted_f1_sd: float
    log_loss: float
    ece: float
    brier: float


class Blind(Figures):
    """The scores of predictions that look at no clip. Log loss and Brier score are None without probabilities."""

    weighted_f1: float
    macro_f1: float
    uar: float
    log_loss: float | None
    brier: float | None


class Baselines(Figures):
    """What is had without looking at a clip, on the same clips as the scores beside it.

    Attributes:
        label: the most frequent class among the training labels.
        majority: the scores of naming this class for every clip.
        prior: the scores of drawing a class for every clip by its share of the training labels. F1 and UAR are those of
            the expected counts; log loss and Brier score are those of the shares as probabilities.
    """

    label: str
    majority: Blind
    prior: Blind


class GroupedScore(Score):
    """Scores with an interval of the weighted F1."""

    interval: Interval


class ClassScore(Figures):
    """The scores of one class; `support` is the number of clips whose label is this class."""

    precision: float
    recall: float
    f1: float
    support: int


class Bin(Figures):
    """The n clips with low < confidence <= high: their mean confidence, and the share of them that is right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


class Calibration(Figures):
    """The calibration of a head's probabilities, without and with a temperature that was fitted without these clips.

    Attributes:
        n: the number of clips.
        ece: the expected calibration error without the temperature.
        ece_tempered: the expected calibration error with the temperature.
        ece_if_calibrated: the mean expected calibration error of a calibrated head on as many clips.
        log_loss: the mean cross-entropy without the temperature, in nats.
        log_loss_tempered: the mean cross-entropy with the temperature, in nats.
        brier: the Brier score without the temperature, from 0 to 2.
        brier_tempered: the Brier score with the temperature.
        bins: the data of the reliability diagram without the temperature.
        bins_tempered: the data of the reliability diagram with the temperature.
    """

    n: int
    ece: float
    ece_tempered: float
    ece_if_calibrated: float
    log_loss: float
    log_loss_tempered: float
    brier: float
    brier_tempered: float
    bins: tuple[Bin, ...]
    bins_tempered: tuple[Bin, ...]
