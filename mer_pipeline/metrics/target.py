"""The parts of metric files on targets that are no single class: sets of classes, and numbers.

The figures have these names; all are from 0 to 1, except for errors, which have the unit of the numbers, and for the
correlations, which go down to -1.

    multilabel   map, macro_f1, micro_f1, exact      by class: ap, f1, support
    regression   ccc, pearson, mae, rmse             by dimension: the same
"""

from __future__ import annotations

from typing import Literal

from mer_pipeline.metrics.base import Figures
from mer_pipeline.metrics.scores import Interval

MAIN = {"multilabel": "map", "regression": "ccc"}  # the figure that selects the head


class TargetScore(Figures):
    """The scores of predictions against one kind of label, as means over the seeds, rounded to 6 digits.

    Attributes:
        n: the number of clips.
        figures: the scores over all classes or dimensions, by name.
        sd: the standard deviation of the main figure over the seeds (ddof 0).
        interval: of the main figure; None where it was not computed.
        each: the scores of each class or dimension.
    """

    n: int
    figures: dict[str, float]
    sd: float
    interval: Interval | None
    each: dict[str, dict[str, float]]


class TargetPair(Figures):
    """The scores against the given labels, and against the true labels where they are known."""

    given: TargetScore
    true: TargetScore | None


class TargetScores(Figures):
    """The out-of-fold scores of all heads.

    Attributes:
        kind: the kind of target.
        main: the figure that selects the head.
        ranges: the lowest and the highest possible number of each dimension; None for sets.
        constant: the scores of the same prediction for every clip, which is the mean of the given labels. For sets it
            is the share of each class.
        heads: the scores of the heads on all modalities, by name.
        single: the scores of the heads on one modality, by the name of the modality and then of the head.
        caveat: a warning about the intervals, or "".
    """

    kind: Literal["multilabel", "regression"]
    main: str
    ranges: tuple[tuple[float, float], ...] | None
    constant: TargetPair
    heads: dict[str, TargetPair]
    single: dict[str, dict[str, TargetPair]]
    caveat: str


class TargetTest(Figures):
    """The scores on the candidates whose true label is known.

    Attributes:
        kind: the kind of target.
        main: the figure that selects the head.
        constant: the scores of the mean of the given labels as the prediction for every clip.
        heads: the scores of the heads on all modalities, one prediction per seed.
        single: the scores of the heads on one modality.
        selected: the scores of the selected head's final predictions, which are the mean over folds and seeds.
    """

    kind: Literal["multilabel", "regression"]
    main: str
    constant: TargetScore
    heads: dict[str, TargetScore]
    single: dict[str, dict[str, TargetScore]]
    selected: TargetScore
