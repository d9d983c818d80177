"""Cross-validation: k folds times the seeds, one member each.

    fold f           is scored: neither its labels nor its features reach the member
    fold (f+1) mod k is the validation fold for early stopping, and learnt from afterwards (`train.refit`)
    the rest         is trained on; all labels were refined without fold f

A head that needs no validation fold (logreg) trains on it too. So does every head, for `patience` epochs, where there
are only two folds, or where the rest lacks a class that the validation fold has: a class that was never trained on
costs more than a guessed number of epochs.

Clips of the pool with pseudo-labels that were made without fold f join the rows that are trained on. They are in no
fold: never validated on, never scored, and not counted in the prior.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow.parquet as pq

from mer_pipeline.base.errors import StageError
from mer_pipeline.base.modalities import Features, Indices, Mask, Matrix
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import CrossValidationParams, HeadName, TrainParams
from mer_pipeline.heads.base import NO_FOLD, ComputeConfig, Epoch, Examples
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.spec import HeadSpec
from mer_pipeline.labels.judges import FINAL
from mer_pipeline.labels.pseudo_table import read_pseudo
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.training.member import HERE, Member, Plan, fit_plans
from mer_pipeline.training.search import Fold, FoldSearch, search
from mer_pipeline.training.targets import as_asked

PLAIN = CrossValidationParams()
FEWEST_FOLDS = 3  # one is held out, one is voted on or scored, one is learnt from


@dataclass(frozen=True)
class Labels:
    """The n labelled clips; labels are int64 class indices.

    Attributes:
        clip_ids: sorted.
        fold: int64 (n,), 0..k-1.
        given: (n,).
        final: (n,), refined with all votes.
        held_out: (k, n), refined without fold f at [f]; MISSING on fold f's own clips.
        true: (n,), MISSING where it is not known.
        pseudo_ids: m clips of the pool; features of all n + m clips have their rows after the labelled ones.
        pseudo: (k, m), the label for the head that is scored on fold f at [f], MISSING where the clip is not taken.
        posterior: float32 (k + 1, n, C), of the model that refined the labels: without fold f at [f], where it is zeros
            on fold f's own clips, and with all votes at [FINAL]. None: nothing was refined.
    """

    clip_ids: tuple[str, ...]
    fold: Indices
    given: Indices
    final: Indices
    held_out: Indices
    true: Indices
    pseudo_ids: tuple[str, ...] = ()
    pseudo: Indices = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    posterior: Matrix | None = None

    @property
    def all_ids(self) -> tuple[str, ...]:
        """The clips whose features are needed, in the order of their rows."""
        return self.clip_ids + self.pseudo_ids

    @property
    def folds(self) -> int:
        """k."""
        return len(self.held_out)


@dataclass(frozen=True)
class Trained:
    """One member and where it stands in the cross-validation."""

    seed: int
    fold: int
    member: Member
    history: list[Epoch]


@dataclass(frozen=True)
class Validated:
    """A head's members, and what they say of the clips that they have not seen.

    Attributes:
        members: seeds times folds.
        probabilities: float32 (S, n, C), out of fold.
        weights: float32 (S, n, M).
        by_prior: bool (n,), some member had nothing to go by.
        searches: that chose the params, of every fold and, last, of no fold; None: params are as they stand.
    """

    members: list[Trained]
    probabilities: Matrix
    weights: Matrix
    by_prior: Mask
    searches: list[FoldSearch] | None = None


def read_labels(project: Project, classes: Sequence[str], *, truth: bool = True, pseudo: bool = True) -> Labels:
    """Join the tables of labels and folds, and those of true labels and pseudo-labels where they are asked for.

    Raises:
        StageError: labels and folds are not of the same clips.
    """
    index = {label: c for c, label in enumerate(classes)}
    table = pq.read_table(project.folds)
    fold_of: dict[str, int] = dict(zip(table["clip_id"].to_pylist(), table["fold"].to_pylist(), strict=True))
    clip_ids = sorted(fold_of)
    position = {clip_id: i for i, clip_id in enumerate(clip_ids)}
    k = max(fold_of.values(), default=-1) + 1
    given = np.full(len(clip_ids), MISSING, dtype=np.int64)
    refined = np.full((k + 1, len(clip_ids)), MISSING, dtype=np.int64)  # the last row is FINAL
    posterior = np.zeros((*refined.shape, len(classes)), dtype=np.float32)
    table = pq.read_table(project.labels, columns=["clip_id", "held_out_fold", "given", "label", "posterior"])
    said = table["posterior"].combine_chunks().flatten().to_numpy().reshape(-1, len(classes))
    for row, q in zip(table.drop_columns("posterior").to_pylist(), said, strict=True):
        if row["clip_id"] in position and FINAL <= row["held_out_fold"] < k:
            i = position[row["clip_id"]]
            given[i] = index[row["given"]]
            refined[row["held_out_fold"], i] = index[row["label"]]
            posterior[row["held_out_fold"], i] = q
    fold = np.array([fold_of[clip_id] for clip_id in clip_ids], dtype=np.int64)
    if ((refined[:k] == MISSING) != (fold == np.arange(k)[:, None])).any() or (refined[FINAL] == MISSING).any():
        raise StageError(
            f"{project.labels} was not made from {project.folds}: their clips differ; run `dvc repro labels`"
        )
    true_of: dict[str, str] = {}
    if truth:
        known = pq.read_table(project.truth)
        true_of = dict(zip(known["clip_id"].to_pylist(), known["label"].to_pylist(), strict=True))
    true = np.array([index[true_of[c]] if c in true_of else MISSING for c in clip_ids], dtype=np.int64)
    found = Labels(tuple(clip_ids), fold, given, refined[FINAL], refined[:k], true, posterior=posterior)
    if not pseudo:
        return found
    ids, taken = read_pseudo(project.pseudo, k, classes)
    return replace(found, pseudo_ids=ids, pseudo=taken)


def cross_validate(
    name: HeadName,
    features: Features,
    labels: Labels,
    classes: int,
    params: TrainParams,
    tick: Callable[[], None] = lambda: None,
    compute: ComputeConfig = HERE,
) -> Validated:
    """Train a head for every seed and fold; `features` are of `labels.all_ids`, raw. `tick` follows each member.

    With `params.search` the params of each fold's members are chosen first, without it (search.py).
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
    """As `cross_validate`, of a head that was looked up before."""
    seeds, n = spec.seeds(params), len(labels.fold)
    probabilities = np.zeros((len(seeds), n, classes), dtype=np.float32)
    weights = np.zeros((len(seeds), n, len(features.names)), dtype=np.float32)
    by_prior = np.zeros(n, dtype=bool)
    splits = [split(labels, f, spec.head.uses_validation, classes, params) for f in range(labels.folds)]
    searches = None
    if is_searched(spec, labels, params):
        asked = problems(spec, labels, classes, params)
        searches = search(spec, features, labels.given, asked, classes, params, compute, tick)
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
    return Validated(members, probabilities, weights, by_prior, searches)


def is_searched(spec: HeadSpec, labels: Labels, params: CrossValidationParams) -> bool:
    """Whether params are searched for: where without the scored fold there are two others at least, and the head has
    params that are searched."""
    return bool(
        params.search.trials and labels.folds >= FEWEST_FOLDS and spec.head.searched and spec.space(params.search)
    )


def members_of(name: HeadName, labels: Labels, params: TrainParams) -> int:
    """How many members `cross_validate` trains: k folds times seeds, and k inner cross-validations of a search."""
    k = labels.folds
    spec = head_of(name, params)
    return k * len(spec.seeds(params)) + (params.search.trials * k * k if is_searched(spec, labels, params) else 0)


def seeds_of(name: HeadName, params: TrainParams) -> tuple[int, ...]:
    """The seeds that a head is trained with."""
    return head_of(name, params).seeds(params)


def split(
    labels: Labels, f: int, uses_validation: bool, classes: int, params: CrossValidationParams = PLAIN
) -> tuple[Examples, Examples | None]:
    """What the member of fold f trains on and what it is validated on; targets and weights as params ask."""
    others = np.flatnonzero(labels.fold != f)
    own = Examples.of(others, labels.held_out[f, others], labels.fold[others], classes)
    posterior = None if labels.posterior is None else labels.posterior[f]
    learnt = as_asked(own.and_(_pseudo(labels, f, classes)), posterior, params)
    beside = learnt.fold == (f + 1) % labels.folds
    train, validation = learnt.at(np.flatnonzero(~beside)), learnt.at(np.flatnonzero(beside))
    if uses_validation and labels.folds > 2 and np.isin(validation.label, train.label[train.fold != NO_FOLD]).all():
        return train, validation
    return learnt, None


def without(labels: Labels, held_out: int) -> tuple[Indices, Labels]:
    """The rows that are left without a fold (FINAL: all), and their labels, which were refined without it too.

    The folds are counted anew. Pseudo-labels stay behind.
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
    return rows, Labels(names, fold, given, learnt, seen, unknown, posterior=posterior)


def problems(spec: HeadSpec, labels: Labels, classes: int, params: CrossValidationParams) -> list[list[Fold]]:
    """What a search cross-validates for each fold, as if it did not exist, and last with all folds.

    Pseudo-labels that were made without fold f know the folds that the search of fold f scores, so only the last
    problem has any.
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
    """The clips of the pool that are taken for the head of fold f; they are in no fold."""
    label = labels.pseudo[f] if labels.pseudo_ids else np.zeros(0, dtype=np.int64)
    taken = np.flatnonzero(label != MISSING)
    return Examples.of(len(labels.fold) + taken, label[taken], np.full_like(taken, NO_FOLD), classes)
