"""Nested search: choose the settings of a head by cross-validation inside the training folds.

    search of fold f    uses the other k - 1 folds; each is scored in turn by members that were trained on the rest
    search of no fold   uses all k folds in the same way: the usual search, whose best score is too optimistic

A trial is one set of settings. Its value is the weighted F1 on the given labels over all folds of its search, or the
figure of another kind of target (heads/objective.py). The
members that are scored on fold f are trained with the best trial of the search of fold f, so the choice does not depend
on fold f. The best value of the search of no fold exceeds the head's nested score by the optimism, because the best of
many trials fits these clips partly by luck.

The first trial of each search has the settings of params.yaml. The members of all searches, of all trials that are
asked for together, and of all folds are trained in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mer_pipeline.base.modalities import Features, Indices, Matrix
from mer_pipeline.config.train_params import CrossValidationParams, Value
from mer_pipeline.heads.base import ComputeConfig, Examples
from mer_pipeline.heads.spec import HeadSpec
from mer_pipeline.training.member import Chosen, Plan, fit_plans

if TYPE_CHECKING:
    import optuna

LOGARITHMIC = frozenset({"lr", "weight_decay"})


@dataclass(frozen=True)
class Fold:
    """One fold of a search.

    Attributes:
        split: the training examples, and the validation examples if there are any.
        scored: the indices of the rows that are scored.
    """

    split: tuple[Examples, Examples | None]
    scored: Indices


@dataclass
class FoldSearch:
    """The trials of one search in order, and the value of each."""

    trials: list[Chosen] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The index of the best trial; the first of equal ones."""
        return int(np.argmax(self.values))

    @property
    def chosen(self) -> Chosen:
        """The settings of the best trial."""
        return self.trials[self.best]

    def apply(self, spec: HeadSpec) -> HeadSpec:
        """Return the head with the settings of the best trial."""
        return spec.with_values(self.chosen)


def search(
    spec: HeadSpec,
    features: Features,
    value_of: Callable[[Indices, Matrix], float],
    problems: Sequence[Sequence[Fold]],
    classes: int,
    params: CrossValidationParams,
    compute: ComputeConfig,
    tick: Callable[[], None] = lambda: None,
) -> list[FoldSearch]:
    """Run one search for each problem, with the first seed. The searches are independent of each other.

    Args:
        spec: the head with the settings of params.yaml.
        features: the features of all clips, not standardised.
        value_of: the score of predictions (r, C) for the clips at these r indices, on the given labels.
        problems: the folds of each search.
        classes: the number of classes.
        params: the seeds, of which the first is used, and the section `search`.
        compute: where networks are trained.
        tick: called after each member; there is one for each trial and each fold of each problem.
    """
    space = {key: _distribution(spec, key, entry) for key, entry in spec.space(params.search).items()}
    samplers, searches = [_start(spec, space, params) for _ in problems], [FoldSearch() for _ in problems]
    # The sampler gets the options without the head's name, because its draws depend on the names of the options.
    names = {key.rpartition(".")[2]: key for key in space}
    drawn = {bare: space[key] for bare, key in names.items()}
    while (left := params.search.trials - len(searches[0].trials)) > 0:
        asked = [[sampler.ask(drawn) for _ in range(min(left, params.search.batch))] for sampler in samplers]
        chosen = [[{names[bare]: value for bare, value in one.params.items()} for one in trials] for trials in asked]
        plans = [
            Plan(fold.split, params.seeds[0], own)
            for folds, each in zip(problems, chosen, strict=True)
            for own in map(spec.with_values, each)
            for fold in folds
        ]
        fitted = iter(fit_plans(features, plans, classes, compute, tick))
        for found, sampler, folds, trials, each in zip(searches, samplers, problems, asked, chosen, strict=True):
            for trial, values in zip(trials, each, strict=True):
                predicted = []
                for fold in folds:
                    member, _ = next(fitted)
                    predicted.append(member.predict(features.take(fold.scored)).probabilities)
                value = value_of(np.concatenate([fold.scored for fold in folds]), np.concatenate(predicted))
                sampler.tell(trial, value)
                found.trials.append(values)
                found.values.append(value)
    return searches


def _distribution(spec: HeadSpec, key: str, entry: tuple[Value, ...]) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not spec.is_range(key):
        return CategoricalDistribution(entry)
    low, high = map(float, entry)
    return FloatDistribution(low, high, log=key in LOGARITHMIC)


def _start(spec: HeadSpec, space: Iterable[str], params: CrossValidationParams) -> optuna.Study:
    """Return a seeded study in memory whose first trial has the settings of params.yaml."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Several trials are asked for before any result is told; `constant_liar` keeps them from being alike.
    sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=params.seeds[0])
    if params.search.sampler == "tpe":
        sampler = optuna.samplers.TPESampler(seed=params.seeds[0], multivariate=True, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial({key.rpartition(".")[2]: spec.value(key) for key in space})
    return study
