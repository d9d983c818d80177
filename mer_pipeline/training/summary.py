"""Build metrics/train.json and the CSV files of the plots from the heads that the stage `train` has trained.

The head is selected by its out-of-fold weighted F1 on the *given* labels. Refined labels would favour a head that has
learnt their bias, and true labels are for evaluation only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mer_pipeline.base.csv_files import write_csv
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.labels.judges import FINAL
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.train import (
    FusedScores,
    HeadScores,
    LabelAgreement,
    LabelCounts,
    SearchSummary,
    TrainBaselines,
    TrainMetrics,
)
from mer_pipeline.scores.baselines import baselines, shares_without_fold
from mer_pipeline.scores.bootstrap import units_of
from mer_pipeline.scores.calibration import reliability
from mer_pipeline.scores.confusion import Confusion, accuracy
from mer_pipeline.scores.evaluation import out_of_fold
from mer_pipeline.scores.score import grouped_score, score
from mer_pipeline.training.artifacts import FUSED
from mer_pipeline.training.cross_validation import FEWEST_FOLDS
from mer_pipeline.training.labels import Labels
from mer_pipeline.training.search import FoldSearch
from mer_pipeline.training.validated import Validated

Results = dict[str | None, dict[HeadName, Validated]]  # by modality, FUSED (all modalities) first, then by head
Fused = dict[HeadName, FusedScores]
Single = dict[str, dict[str, HeadScores]]


def fused_scores(results: Results, labels: Labels, groups: Sequence[str], classes: Sequence[str]) -> Fused:
    """Return the scores of each head on all modalities; `groups` has the group of each labelled clip."""
    return {name: _fused(validated, labels, groups, classes) for name, validated in results.get(FUSED, {}).items()}


def single_scores(results: Results, labels: Labels) -> Single:
    """Return the scores of each head on each modality alone."""
    return {
        modality: {name: _alone(validated, labels) for name, validated in heads.items()}
        for modality, heads in results.items()
        if modality is not FUSED
    }


def blind_scores(labels: Labels, classes: Sequence[str]) -> TrainBaselines:
    """Return the baselines: those of each fold know the given labels of the other folds."""
    prior, known = shares_without_fold(labels.given, labels.fold, len(classes)), labels.true != MISSING
    return TrainBaselines(
        given=baselines(labels.given, prior, classes),
        true=baselines(labels.true[known], prior[known], classes) if known.any() else None,
    )


def select(heads: Fused) -> HeadName | None:
    """Return the head with the highest weighted F1 on the given labels; in a tie, the first one in `train.heads`."""
    return max(heads, key=lambda name: heads[name].given.weighted_f1, default=None)


def search_summary(nested: float, searches: Sequence[FoldSearch]) -> SearchSummary:
    """Return the summary of a head's searches.

    Args:
        nested: the head's score, with settings that were chosen without the scored fold.
        searches: the search of each fold, and at the end that of no fold.
    """
    *own, plain = searches
    best = plain.values[plain.best]
    return SearchSummary(
        trials=len(plain.trials),
        nested=nested,
        unnested=round(best, 6),
        optimism=round(best - nested, 6),
        as_they_stand=round(plain.values[0], 6),
        chosen=tuple(dict(one.chosen) for one in own),
    )


def search_note(params: TrainParams, labels: Labels) -> str:
    """Return the reason that a search was asked for but not done, or ""."""
    if params.search.trials == 0 or labels.folds >= FEWEST_FOLDS:
        return ""
    return f"{labels.folds} folds leave none to choose settings on without the scored one: params are as they stand"


def label_counts(labels: Labels, classes: int) -> LabelCounts:
    """Return how many labels refinement changed, and how often the labels before and after it are right."""
    known, agreement = labels.true != MISSING, None
    if known.any() and labels.kind == "class":
        true = labels.true[known]
        before, after = (Confusion.of(true, column[known], classes) for column in (labels.given, labels.final))
        posterior = None if labels.posterior is None else labels.posterior[FINAL][known]
        agreement = LabelAgreement(
            given=round(float(accuracy(before.counts)), 6),
            refined=round(float(accuracy(after.counts)), 6),
            given_uar=round(before.uar, 6),
            refined_uar=round(after.uar, 6),
            posterior=None if posterior is None else reliability(posterior, true),
        )
    return LabelCounts(changed=int((labels.given != labels.final).sum()), agreement_with_true=agreement)


def write_plots(project: Project, results: Results, metrics: TrainMetrics) -> None:
    """Write heads.csv, with a score for each head and set of modalities, and history.csv, with each member's epochs."""
    table: dict[str, Mapping[str, HeadScores]] = {"all": metrics.heads, **metrics.single}
    rows = [(name, set_, of.given.weighted_f1) for set_, scores in table.items() for name, of in scores.items()]
    figure = "weighted_f1"
    if (judged := metrics.target) is not None:
        sets, figure = {"all": judged.heads, **judged.single}, judged.main
        rows = [(name, set_, of.given.figures[figure]) for set_, scores in sets.items() for name, of in scores.items()]
    write_csv(project.plots("heads"), ("head", "features", figure), rows)
    write_csv(
        project.plots("history"),
        ("head", "seed", "fold", "epoch", "train_loss", "validation_f1"),
        [
            (name, one.seed, one.fold, at.epoch, round(at.train_loss, 6), _blank(at.validation_f1))
            for name, validated in results.get(FUSED, {}).items()
            for one in validated.members
            for at in one.history
        ],
    )


def _alone(validated: Validated, labels: Labels) -> HeadScores:
    said, known = validated.probabilities, labels.true != MISSING
    true = score(labels.true[known], list(said[:, known])) if known.any() else None
    return HeadScores(given=score(labels.given, list(said)), true=true)


def _fused(validated: Validated, labels: Labels, groups: Sequence[str], classes: Sequence[str]) -> FusedScores:
    said, known = validated.probabilities, np.flatnonzero(labels.true != MISSING).tolist()
    true = None
    if known:
        true = grouped_score(labels.true[known], list(said[:, known]), units_of([groups[i] for i in known]))
    mean = said.mean(axis=0)
    given = grouped_score(labels.given, list(said), units_of(groups))
    return FusedScores(
        given=given,
        true=true,
        out_of_fold=out_of_fold(mean, validated.by_prior, labels.given, labels.fold, classes),
        search=None if validated.searches is None else search_summary(given.weighted_f1, validated.searches),
    )


def _blank(value: float | None) -> float | str:
    return "" if value is None else round(value, 6)
