"""metrics/predict.json: how many clips were predicted, and scores of those whose true label is known."""

from __future__ import annotations

from mer_pipeline.metrics.base import Figures, MetricFile
from mer_pipeline.metrics.scores import Calibration, ClassScore, Counts, GroupedScore, Score


class SelectedScore(GroupedScore):
    """The predictions themselves: one label per clip, folds and seeds averaged."""

    per_class: dict[str, ClassScore]
    confusion: Counts
    calibration: Calibration


class CandidateScores(Figures):
    """Scores on the test candidates whose true label is known.

    Attributes:
        heads: on all modalities, by name; means over seeds.
        single: on one modality, by its name and the head's.
        selected: what the selected head predicts.
    """

    heads: dict[str, GroupedScore]
    single: dict[str, dict[str, Score]]
    selected: SelectedScore


class PredictMetrics(MetricFile):
    """What the predict stage did.

    Attributes:
        selected: the head whose predictions they are; None: there is no head.
        test: None where no truth is known.
        candidates: clips of the test split.
        pool: clips of the pool.
        flagged: clips that were predicted without any modality or without a head.
    """

    STAGE = "predict"

    selected: str | None
    test: CandidateScores | None
    candidates: int
    pool: int
    flagged: int
