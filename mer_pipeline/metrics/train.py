"""metrics/train.json: every head's scores out of fold, on all modalities and on each alone, and the selected head."""

from __future__ import annotations

from pydantic import ConfigDict

from mer_pipeline.config.train_params import VISUAL, Value
from mer_pipeline.metrics.base import Figures, MetricFile
from mer_pipeline.metrics.scores import Calibration, ClassScore, Counts, GroupedScore, Score


class HeadScores(Figures):
    """A head's scores against the given labels, and against the true ones where they are known."""

    given: Score
    true: Score | None


class OutOfFold(Figures):
    """A head's out-of-fold probabilities, seeds averaged, against the given labels; `temperature` is fitted on all."""

    per_class: dict[str, ClassScore]
    confusion: Counts
    temperature: float
    calibration: Calibration


class SearchSummary(Figures):
    """What a search for settings found; scores are weighted F1 on the given labels.

    Attributes:
        trials: of each fold's search.
        nested: the head's own score, the mean over seeds.
        unnested: the best trial of the search on all folds, with the first seed.
        optimism: `unnested` minus `nested`.
        as_they_stand: params without a search, with the first seed.
        chosen: settings, of each fold.
    """

    trials: int
    nested: float
    unnested: float
    optimism: float
    as_they_stand: float
    chosen: tuple[dict[str, Value], ...]


class FusedScores(HeadScores):
    """Likewise of a head on all modalities, with intervals; `search` is None where params were taken as they stand."""

    given: GroupedScore
    true: GroupedScore | None
    out_of_fold: OutOfFold
    search: SearchSummary | None


class LabelAgreement(Figures):
    """Share of the training clips whose label is the true one, before and after refinement."""

    given: float
    refined: float


class LabelCounts(Figures):
    """Labels that refinement changed, and their agreement with the truth where it is known."""

    changed: int
    agreement_with_true: LabelAgreement | None


class TrainedRun(MetricFile):
    """What `mer score` and `mer compare` must know of a run, which another version may have written.

    data/fusion/config.json has the same three keys. Other keys are left alone.
    """

    model_config = ConfigDict(extra="ignore")
    STAGE = "train"

    classes: tuple[str, ...]
    selected: str | None
    empty: str | None  # why there is no head


class TrainMetrics(TrainedRun):
    """What the train stage found.

    Attributes:
        modalities: in token order.
        merged: encoders that are one of them, VISUAL.
        mixed: those that are made of several modalities already.
        folds: how many there are.
        folds_asked: how many were asked for.
        folds_note: what a reader of the scores must know of the folds, or "".
        labelled: clips.
        seeds: of the training.
        search_note: why no settings were searched for, or "".
        heads: on all modalities, by name.
        single: on one modality, by its name and the head's.
        labels: what refinement changed.
        pseudo: clips that are trained on with a pseudo-label.
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

    @property
    def encoders(self) -> tuple[str, ...]:
        """Whose features the modalities are, in token order."""
        each = (self.merged if self.merged and name == VISUAL else (name,) for name in self.modalities)
        return tuple(name for names in each for name in names)
