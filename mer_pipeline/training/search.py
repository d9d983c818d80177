"""Search: which settings a head is trained with, chosen by cross-validation inside the folds that it may know.

    study of fold f     the other k - 1 folds; each is scored in turn by members that were trained on the rest
    study of no fold    all k folds likewise: the usual search, whose best score is what one would report without care

A draw is worth the weighted F1 on the given labels, pooled over a study's folds. The head that is scored on fold f is
trained as the best draw of study f says, so its score is of clips that had no part in the choice. What the best draw of
the study of no fold has above it is optimism: one of many trials was lucky on these very clips.

The first draw of each study is params as they stand. All studies × trials of a round × folds are trained at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from mer_pipeline.heads.base import ComputeConfig, Examples
from mer_pipeline.modalities import Features, Indices
from mer_pipeline.scores.metrics import Confusion
from mer_pipeline.train_params import CHOICES, HeadName, TrainParams
from mer_pipeline.training.member import Chosen, Plan, fit_plans

if TYPE_CHECKING:
    import optuna

LOGARITHMIC = frozenset({"lr", "weight_decay"})


@dataclass(frozen=True)
class Fold:
    """One fold of a study: what is learnt from and what is validated on, and the rows that are scored."""

    split: tuple[Examples, Examples | None]
    scored: Indices


@dataclass
class FoldSearch:
    """What was tried, in order, and what each draw was worth."""

    trials: list[Chosen] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The first of the best."""
        return int(np.argmax(self.values))

    @property
    def chosen(self) -> Chosen:
        """The best draw."""
        return self.trials[self.best]

    def apply(self, params: TrainParams) -> TrainParams:
        """Params with what was chosen."""
        return params.model_copy(update=dict(self.chosen))


class SearchSummary(TypedDict):
    """Of a head in metrics/train.json; scores are weighted F1 on the given labels.

    `nested` is the head's own score, the mean over seeds. `unnested` is of the best draw of the study of no fold,
    `as_they_stand` of its first; both with the first seed.
    """

    trials: int
    nested: float
    unnested: float
    optimism: float
    as_they_stand: float
    chosen: list[dict[str, float]]  # of each fold


def search(
    name: HeadName,
    features: Features,
    given: Indices,
    problems: Sequence[Sequence[Fold]],
    classes: int,
    params: TrainParams,
    compute: ComputeConfig,
    tick: Callable[[], None] = lambda: None,
) -> list[FoldSearch]:
    """Search for each problem, given as its folds, with the first seed; none knows of another.

    Args:
        name: of the head.
        features: raw.
        given: int64 (n,), the labels that trials are scored on.
        problems: a study each.
        classes: how many there are.
        params: how heads are trained and what is searched.
        compute: device and threads of the training.
        tick: follows each member; there are trials times all folds of all problems.
    """
    samplers, studies = [_start(params) for _ in problems], [FoldSearch() for _ in problems]
    space = _space(params)
    while (left := params.search.trials - len(studies[0].trials)) > 0:
        asked = [[sampler.ask(space) for _ in range(min(left, params.search.batch))] for sampler in samplers]
        plans = [
            Plan(fold.split, params.seeds[0], params.model_copy(update=trial.params))
            for folds, trials in zip(problems, asked, strict=True)
            for trial in trials
            for fold in folds
        ]
        fitted = iter(fit_plans(name, features, plans, classes, compute, tick))
        for study, sampler, folds, trials in zip(studies, samplers, problems, asked, strict=True):
            for trial in trials:
                predicted = []
                for fold in folds:
                    member, _ = next(fitted)
                    predicted.append(member.predict(features.take(fold.scored)).probabilities.argmax(axis=1))
                true = given[np.concatenate([fold.scored for fold in folds])]
                value = Confusion.of(true, np.concatenate(predicted), classes).weighted_f1
                sampler.tell(trial, value)
                study.trials.append(trial.params)
                study.values.append(value)
    return studies


def summary(nested: float, studies: Sequence[FoldSearch]) -> SearchSummary:
    """Of the studies of all folds and, last, of none; `nested` is the head's score."""
    *own, plain = studies
    best = plain.values[plain.best]
    return {
        "trials": len(plain.trials),
        "nested": nested,
        "unnested": round(best, 6),
        "optimism": round(best - nested, 6),
        "as_they_stand": round(plain.values[0], 6),
        "chosen": [dict(study.chosen) for study in own],
    }


def _space(params: TrainParams) -> dict[str, optuna.distributions.BaseDistribution]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    def of(key: str, entry: tuple[float, ...]) -> optuna.distributions.BaseDistribution:
        if key in CHOICES:
            return CategoricalDistribution(entry)
        return FloatDistribution(entry[0], entry[1], log=key in LOGARITHMIC)

    return {key: of(key, entry) for key, entry in params.search.space.entries.items()}


def _start(params: TrainParams) -> optuna.Study:
    """A seeded study in memory that asks for params as they stand first."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A round's trials are asked for before any is told: the liar keeps them apart.
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=params.seeds[0])
    if params.search.sampler == "tpe":
        sampler = optuna.samplers.TPESampler(seed=params.seeds[0], multivariate=True, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial({key: getattr(params, key) for key in params.search.space.entries})
    return study
