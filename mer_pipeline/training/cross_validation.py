"""Cross-validation of a head: one member for each of the k folds and each seed.

The member of fold f uses the folds as follows:

    fold f            is scored; the member sees neither its labels nor its features
    fold (f+1) mod k  is the validation fold for early stopping, and is learnt from afterwards (`train.refit`)
    other folds       are trained on; all labels are refined without fold f

A head that needs no validation fold (logreg) trains on that fold too. In two cases all other heads do so as well, for
`patience` epochs: if there are only two folds, or if the other folds lack a class that the validation fold has. A class
that is never trained on costs more than a guessed number of epochs.

Clips of the pool with pseudo-labels that were made without fold f are added to the training rows. They belong to no
fold: they are never used for validation, never scored, and not counted in the prior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mer_pipeline.base.modalities import Features, Indices
from mer_pipeline.config.train_params import CrossValidationParams, HeadName, TrainParams
from mer_pipeline.heads.base import NO_FOLD, ComputeConfig, Examples
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.spec import HeadSpec
from mer_pipeline.labels.judges import FINAL
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.training.labels import Labels as Labels
from mer_pipeline.training.labels import read_labels as read_labels
from mer_pipeline.training.member import HERE, Plan, fit_plans
from mer_pipeline.training.search import Fold, search
from mer_pipeline.training.targets import as_asked
from mer_pipeline.training.validated import Trained, Validated, combine

PLAIN = CrossValidationParams()
FEWEST_FOLDS = 3  # one fold is held out, one is voted on or scored, and one is learnt from


def cross_validate(
    name: HeadName,
    features: Features,
    labels: Labels,
    classes: int,
    params: TrainParams,
    tick: Callable[[], None] = lambda: None,
    compute: ComputeConfig = HERE,
) -> Validated:
    """Train a head for every seed and fold.

    `features` are those of `labels.all_ids`, not standardised, and `tick` is called after each member. If
    `params.search` asks for it, the params for each fold are first chosen without that fold (search.py).
    """
    return validate(head_of(name, params), features, labels, classes, params, tick, compute)


def validate(
    spec: HeadSpec,
    features: Features,
    labels: Labels,
    classes: int,
    params: CrossValidationParams,
    tick: Callable[[], None] = lambda: None,
    compute: ComputeConfig = HERE,
) -> Validated:
    """Do the same as `cross_validate` for the specification of a head."""
    if spec.late is not None:
        return combine(*(validate(part, features, labels, classes, params, tick, compute) for part in spec.trained))
    seeds, n = spec.seeds(params), len(labels.fold)
    probabilities = np.zeros((len(seeds), n, classes), dtype=np.float32)
    weights = np.zeros((len(seeds), n, len(features.names)), dtype=np.float32)
    by_prior = np.zeros(n, dtype=bool)
    splits = [split(labels, f, spec.head.uses_validation, classes, params) for f in range(labels.folds)]
    searches = None
    if is_searched(spec, labels, params):
        asked = problems(spec, labels, classes, params)
        searches = search(spec, features, labels.figure, asked, classes, params, compute, tick)
    own = [spec if searches is None else searches[f].apply(spec) for f in range(labels.folds)]
    plans = [Plan(splits[f], seed, own[f]) for seed in seeds for f in range(labels.folds)]
    fitted = iter(fit_plans(features, plans, classes, compute, tick))
    members = []
    for s, seed in enumerate(seeds):
        for f in range(labels.folds):
            member, history = next(fitted)
            if searches is not None:
                member = replace(member, chosen=searches[f].chosen)
            members.append(Trained(seed, f, member, history))
            scored = np.flatnonzero(labels.fold == f)
            predicted = member.predict(features.take(scored))
            probabilities[s, scored], weights[s, scored] = predicted.probabilities, predicted.weights
            by_prior[scored] |= predicted.by_prior
    if labels.coded is not None:
        probabilities = labels.coded.target.bounded(probabilities)
    return Validated(members, probabilities, weights, by_prior, searches)


def is_searched(spec: HeadSpec, labels: Labels, params: CrossValidationParams) -> bool:
    """Return whether params are searched for.

    This takes at least two folds besides the scored one, and a head with params in the search space.
    """
    return bool(
        params.search.trials and labels.folds >= FEWEST_FOLDS and spec.head.searched and spec.space(params.search)
    )


def members_of(name: HeadName, labels: Labels, params: TrainParams) -> int:
    """Return how many members `cross_validate` trains, including the k * k members of each trial of a search."""
    k, spec = labels.folds, head_of(name, params)
    return k * per_fold(name, params) + (params.search.trials * k * k if is_searched(spec, labels, params) else 0)


def per_fold(name: HeadName, params: TrainParams) -> int:
    """Return how many members are trained for each fold without a search: one for each seed of each trained head."""
    return sum(len(one.seeds(params)) for one in head_of(name, params).trained)


def seeds_of(name: HeadName, params: TrainParams) -> tuple[int, ...]:
    """Return the seeds that the head of this name is trained with."""
    return head_of(name, params).seeds(params)


def split(
    labels: Labels, f: int, uses_validation: bool, classes: int, params: CrossValidationParams = PLAIN
) -> tuple[Examples, Examples | None]:
    """Return the training and the validation examples of the member of fold f; the latter may be None.

    Args:
        labels: the labels.
        f: the fold that is scored.
        uses_validation: whether the head needs a validation fold.
        classes: the number of classes.
        params: `targets` and `class_weights` are used.
    """
    others = np.flatnonzero(labels.fold != f)
    own = labels.examples(others, labels.held_out[f, others], labels.fold[others], classes)
    posterior = None if labels.posterior is None else labels.posterior[f]
    learnt = as_asked(own.and_(_pseudo(labels, f, classes)), posterior, params)
    beside = learnt.fold == (f + 1) % labels.folds
    train, validation = learnt.at(np.flatnonzero(~beside)), learnt.at(np.flatnonzero(beside))
    met = labels.kind != "class" or np.isin(validation.label, train.label[train.fold != NO_FOLD]).all()
    if uses_validation and labels.folds > 2 and met:
        return train, validation
    return learnt, None


def without(labels: Labels, held_out: int) -> tuple[Indices, Labels]:
    """Return the dataset without one fold, or the whole one for FINAL: its rows, and labels refined without the fold.

    The remaining folds are numbered from 0. Pseudo-labels are left out.
    """
    learnt = labels.final if held_out == FINAL else labels.held_out[held_out]
    rows = np.flatnonzero(labels.fold != held_out)
    folds, fold = np.unique(labels.fold[rows], return_inverse=True)
    given, learnt = labels.given[rows], learnt[rows]
    seen = np.where(fold == np.arange(len(folds))[:, None], MISSING, learnt)
    unknown, posterior = np.full_like(given, MISSING), labels.posterior
    if posterior is not None:
        posterior = np.tile(posterior[held_out, rows], (len(folds) + 1, 1, 1))
    names = tuple(labels.clip_ids[i] for i in rows)
    return rows, Labels(names, fold, given, learnt, seen, unknown, posterior=posterior, coded=labels.coded)


def problems(spec: HeadSpec, labels: Labels, classes: int, params: CrossValidationParams) -> list[list[Fold]]:
    """Return the folds that each search cross-validates: for each fold f the others, and at the end all folds.

    Pseudo-labels that were made without fold f depend on the labels of the folds that the search of fold f scores. So
    only the last search uses pseudo-labels.
    """

    def at(rows: Indices, examples: Examples) -> Examples:
        return replace(examples, rows=rows[examples.rows])

    found = []
    for rows, inner in (*(without(labels, f) for f in range(labels.folds)), (np.arange(len(labels.all_ids)), labels)):
        folds = []
        for j in range(inner.folds):
            train, validation = split(inner, j, spec.head.uses_validation, classes, params)
            seen = None if validation is None else at(rows, validation)
            folds.append(Fold((at(rows, train), seen), rows[np.flatnonzero(inner.fold == j)]))
        found.append(folds)
    return found


def _pseudo(labels: Labels, f: int, classes: int) -> Examples:
    """Return the clips of the pool with a pseudo-label for the head of fold f; they belong to no fold."""
    label = labels.pseudo[f] if labels.pseudo_ids else np.zeros(0, dtype=np.int64)
    taken = np.flatnonzero(label != MISSING)
    return labels.examples(len(labels.fold) + taken, label[taken], np.full_like(taken, NO_FOLD), classes)
