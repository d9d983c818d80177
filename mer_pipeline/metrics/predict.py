"""The file metrics/predict.json: how many clips were predicted, and the scores on those with a known true label."""

from __future__ import annotations

from mer_pipeline.metrics.base import Figures, MetricFile
from mer_pipeline.metrics.scores import Baselines, Calibration, ClassScore, Counts, GroupedScore, Score
from mer_pipeline.metrics.target import TargetTest


class SelectedScore(GroupedScore):
    """The scores of the final predictions, which are the mean over folds and seeds: one label per clip."""

    per_class: dict[str, ClassScore]
    confusion: Counts
    calibration: Calibration


class CandidateScores(Figures):
    """The scores on the candidates whose true label is known.

    Attributes:
        heads: the scores of the heads on all modalities, by name, as means over seeds.
        single: the scores of the heads on one modality, by the name of the modality and then of the head.
        selected: the scores of the selected head's final predictions.
        baselines: what is had without looking at a clip.
        unshifted: the scores of the selected head without the prior shift; None if there is no shift.
    """

    heads: dict[str, GroupedScore]
    single: dict[str, dict[str, Score]]
    selected: SelectedScore
    baselines: Baselines
    unshifted: GroupedScore | None


class PredictMetrics(MetricFile):
    """The result of the stage `predict`.

    Attributes:
        selected: the head that made the predictions; None if there is no head.
        test: the scores on the candidates; None if no true label is known.
        candidates: the number of candidates.
        pool: the number of clips of the pool.
        flagged: the number of clips that were predicted without any modality or without a head.
        priors: the shares of the classes that the prior shift corrects to, by split and class; empty without a shift.
        warnings: what a reviewer would ask about these scores (scores/warnings.py).
        target: the scores on the candidates where sets of classes or numbers are predicted; `test` is then None.
    """

    STAGE = "predict"

    selected: str | None
    test: CandidateScores | None
    candidates: int
    pool: int
    flagged: int
    priors: dict[str, dict[str, float]]
    warnings: tuple[str, ...]
    target: TargetTest | None = None
