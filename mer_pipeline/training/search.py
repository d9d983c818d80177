"""Search: which settings a head is trained with, chosen by cross-validation inside the folds that it may know.

    search of fold f    the other k - 1 folds; each is scored in turn by members that were trained on the rest
    search of no fold   all k folds likewise: the usual search, whose best score is too good

A trial is one set of settings. Its value is the weighted F1 on the given labels, over all folds of its search together.
The members that are scored on fold f are trained with the best trial of fold f's search, so fold f had no part in the
choice. The best value of the search of no fold is higher than the head's own score by the optimism: of many trials one
was lucky on these very clips.

The first trial of each search is params as they stand. All searches × trials of a round × folds are trained at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mer_pipeline.heads.base import ComputeConfig, Examples
from mer_pipeline.modalities import Features, Indices
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.train_params import CHOICES, HeadName, TrainParams
from mer_pipeline.training.member import Chosen, Plan, fit_plans

if TYPE_CHECKING:
    import optuna

LOGARITHMIC = frozenset({"lr", "weight_decay"})


@dataclass(frozen=True)
class Fold:
    """One fold of a search: what is learnt from and what is validated on, and the rows that are scored."""

    split: tuple[Examples, Examples | None]
    scored: Indices


@dataclass
class FoldSearch:
    """The trials in order, and the value of each."""

    trials: list[Chosen] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The index of the best trial, of equals the first."""
        return int(np.argmax(self.values))

    @property
    def chosen(self) -> Chosen:
        """The settings of the best trial."""
        return self.trials[self.best]

    def apply(self, params: TrainParams) -> TrainParams:
        """Params with these settings."""
        return params.model_copy(update=dict(self.chosen))


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
    """Search for each problem, given as its folds, with the first seed; no search knows of another.

    Args:
        name: of the head.
        features: raw.
        given: int64 (n,), the labels that trials are scored on.
        problems: the folds of each search.
        classes: how many there are.
        params: how heads are trained and what is searched.
        compute: device and threads of the training.
        tick: follows each member; there are trials times all folds of all problems.
    """
    samplers, searches = [_start(params) for _ in problems], [FoldSearch() for _ in problems]
    space = _space(params)
    while (left := params.search.trials - len(searches[0].trials)) > 0:
        asked = [[sampler.ask(space) for _ in range(min(left, params.search.batch))] for sampler in samplers]
        plans = [
            Plan(fold.split, params.seeds[0], params.model_copy(update=trial.params))
            for folds, trials in zip(problems, asked, strict=True)
            for trial in trials
            for fold in folds
        ]
        fitted = iter(fit_plans(name, features, plans, classes, compute, tick))
        for found, sampler, folds, trials in zip(searches, samplers, problems, asked, strict=True):
            for trial in trials:
                predicted = []
                for fold in folds:
                    member, _ = next(fitted)
                    predicted.append(member.predict(features.take(fold.scored)).probabilities.argmax(axis=1))
                true = given[np.concatenate([fold.scored for fold in folds])]
                value = Confusion.of(true, np.concatenate(predicted), classes).weighted_f1
                sampler.tell(trial, value)
                found.trials.append(trial.params)
                found.values.append(value)
    return searches


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
