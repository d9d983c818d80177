"""The file metrics/train.json: the out-of-fold scores of all heads, on all modalities and on each alone."""

from __future__ import annotations

from pydantic import ConfigDict

from mer_pipeline.base.kind import Kind
from mer_pipeline.config.train_params import VISUAL, Value
from mer_pipeline.metrics.base import Figures, MetricFile
from mer_pipeline.metrics.scores import Baselines, Calibration, ClassScore, Counts, GroupedScore, Reliability, Score
from mer_pipeline.metrics.target import TargetScores


class HeadScores(Figures):
    """The scores of a head against the given labels, and against the true labels where they are known."""

    given: Score
    true: Score | None


class OutOfFold(Figures):
    """The evaluation of a head's out-of-fold probabilities, as means over the seeds, against the given labels.

    Attributes:
        per_class: the scores of each class.
        confusion: the confusion matrix.
        temperature: the temperature that is fitted on all clips.
        calibration: the calibration, where the temperature of each fold is fitted on the other folds.
    """

    per_class: dict[str, ClassScore]
    confusion: Counts
    temperature: float
    calibration: Calibration


class SearchSummary(Figures):
    """The result of a search; scores are weighted F1 on the given labels.

    Attributes:
        trials: the number of trials of each search.
        nested: the score of the head with the settings chosen for each fold, as the mean over the seeds.
        unnested: the score of the best trial of the search on all folds, with the first seed.
        optimism: `unnested` minus `nested`.
        as_they_stand: the score with the settings of params.yaml, with the first seed.
        chosen: the settings chosen for each fold.
    """

    trials: int
    nested: float
    unnested: float
    optimism: float
    as_they_stand: float
    chosen: tuple[dict[str, Value], ...]


class FusedScores(HeadScores):
    """The scores of a head on all modalities, with intervals; `search` is None if no search was made."""

    given: GroupedScore
    true: GroupedScore | None
    out_of_fold: OutOfFold
    search: SearchSummary | None


class TrainBaselines(Figures):
    """The baselines against the given labels, and against the true labels where they are known."""

    given: Baselines
    true: Baselines | None


class LabelAgreement(Figures):
    """How far the labels of the training clips are the true ones, before and after refinement.

    Attributes:
        given, refined: the share of the clips whose label is the true one.
        given_uar, refined_uar: the mean of that share over the classes (UAR).
        posterior: whether the posterior of the refinement is right as often as it says; None if there is none.
    """

    given: float
    refined: float
    given_uar: float
    refined_uar: float
    posterior: Reliability | None


class LabelCounts(Figures):
    """The number of labels that refinement changed, and the agreement of all labels with the true ones if known."""

    changed: int
    agreement_with_true: LabelAgreement | None


class TrainedRun(MetricFile):
    """The part of the file that `mer score` and `mer compare` need of a run, which another version may have written.

    data/fusion/config.json has the same three keys. Other keys are ignored.
    """

    model_config = ConfigDict(extra="ignore")
    STAGE = "train"

    classes: tuple[str, ...]
    selected: str | None
    empty: str | None  # why there is no head


class TrainMetrics(TrainedRun):
    """The result of the stage `train`.

    Attributes:
        modalities: the names of the modalities, in the order of the tokens.
        merged: the encoders that are merged into the modality VISUAL.
        mixed: the names of the mixed modalities.
        folds: the number of folds.
        folds_asked: the number of folds that params.yaml asks for.
        folds_note: a note on the folds that is needed to understand the scores, or "".
        labelled: the number of labelled clips.
        seeds: the seeds of the training.
        search_note: the reason that a search was asked for but not done, or "".
        heads: the scores of the heads on all modalities, by name.
        single: the scores of the heads on one modality, by the name of the modality and then of the head.
        labels: the number of labels that refinement changed, and their agreement with the true labels.
        pseudo: the number of clips that are trained on with a pseudo-label.
        baselines: what is had without looking at a clip; None if nothing is trained, or no classes are predicted.
        warnings: what a reviewer would ask about these scores (scores/warnings.py).
        target: the scores where sets of classes or numbers are predicted. `heads` and `single` are then empty, and
            `classes` has the names of what is predicted.
    """

    model_config = ConfigDict(extra="forbid")

    modalities: tuple[str, ...]
    merged: tuple[str, ...]
    mixed: tuple[str, ...]
    folds: int
    folds_asked: int
    folds_note: str
    labelled: int
    seeds: tuple[int, ...]
    search_note: str
    heads: dict[str, FusedScores]
    single: dict[str, dict[str, HeadScores]]
    labels: LabelCounts
    pseudo: int
    baselines: TrainBaselines | None
    warnings: tuple[str, ...]
    target: TargetScores | None = None

    @property
    def kind(self) -> Kind:
        """The kind of target."""
        return "class" if self.target is None else self.target.kind

    @property
    def encoders(self) -> tuple[str, ...]:
        """The encoders whose features make the modalities, in the order of the tokens."""
        each = (self.merged if self.merged and name == VISUAL else (name,) for name in self.modalities)
        return tuple(name for names in each for name in names)
