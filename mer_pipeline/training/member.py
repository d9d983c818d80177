"""A member: a trained head with the scaler and the training prior that come from the same training rows.

A clip without any modality that the member knows gets the training prior, not a prediction from zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mer_pipeline.base import numerics
from mer_pipeline.base.kind import Kind
from mer_pipeline.base.modalities import Features, Mask, Matrix
from mer_pipeline.base.runtime import INTRA_OP_THREADS
from mer_pipeline.config.train_params import HeadName, TrainParams, Value
from mer_pipeline.heads.base import GROUP, NO_FOLD, ComputeConfig, Epoch, Examples, Head, TrainingJob
from mer_pipeline.heads.groups import groups
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.objective import Standard, meaning
from mer_pipeline.heads.scaler import Scaler
from mer_pipeline.heads.spec import HeadSpec

HERE = ComputeConfig()
Chosen = Mapping[str, Value]


@dataclass(frozen=True)
class Predicted:
    """A member's predictions for n clips.

    Attributes:
        probabilities: float32 (n, C); where numbers are predicted, the numbers.
        weights: float32 (n, M), the modality weights; zeros for absent modalities.
        by_prior: bool (n,), true where a clip has no modality that the member knows, so that it gets the prior.
    """

    probabilities: Matrix
    weights: Matrix
    by_prior: Mask


@dataclass(frozen=True)
class Member:
    """A trained head with its scaler and its training prior.

    Attributes:
        scaler: the standardisation, fitted on the training rows.
        head: the trained head; None if no training row has a modality that varies.
        prior: float32 (C,), the training prior: the shares of the classes, or the mean of the numbers.
        chosen: the params that a search chose for it instead of those in params.yaml.
        kind: the kind of target.
        standard: the standardisation of the numbers, fitted on the training rows; None if no numbers are predicted.
    """

    scaler: Scaler
    head: Head | None
    prior: Matrix
    chosen: Chosen = field(default_factory=dict)
    kind: Kind = "class"
    standard: Standard | None = None

    def predict(self, features: Features) -> Predicted:
        """Predict any number of clips, in groups of GROUP. The features are not standardised."""
        parts = [self._group(n, group) for n, group in groups(features)]
        return Predicted(
            np.concatenate([np.zeros((0, len(self.prior)), np.float32), *(part.probabilities for part in parts)]),
            np.concatenate([np.zeros((0, len(features.names)), np.float32), *(part.weights for part in parts)]),
            np.concatenate([np.zeros(0, bool), *(part.by_prior for part in parts)]),
        )

    def _group(self, n: int, group: Features) -> Predicted:
        scaled = self.scaler.apply(group)
        by_prior = np.ones(GROUP, dtype=bool)
        probabilities, weights = np.tile(self.prior, (GROUP, 1)), np.zeros(scaled.mask.shape, dtype=np.float32)
        if self.head is not None:
            by_prior = np.asarray(~scaled.mask.any(axis=1))
            said = self.head.score(scaled)
            outputs = meaning(self.kind, said.values)
            probabilities[~by_prior] = (outputs if self.standard is None else self.standard.undo(outputs))[~by_prior]
            weights[~by_prior] = said.weights[~by_prior]
        return Predicted(probabilities[:n], weights[:n], by_prior[:n])


@dataclass(frozen=True)
class Combination:
    """The mean of a member of a head and of the member of late fusion for the same fold.

    Attributes:
        own: the member of the head.
        late: the member of late fusion.
    """

    own: Member
    late: Member

    @property
    def chosen(self) -> Chosen:
        """The params that a search chose for the head."""
        return self.own.chosen

    def predict(self, features: Features) -> Predicted:
        """Predict any number of clips. The features are not standardised."""
        return mean_of(self.own.predict(features), self.late.predict(features))


def mean_of(own: Predicted, late: Predicted) -> Predicted:
    """Return the mean of the probabilities of a head and of late fusion, with the modality weights of the head.

    If only one of the two knows a modality of a clip, its prediction is taken alone.
    """
    share = np.float32(0.5) * (1 + late.by_prior.astype(np.float32) - own.by_prior.astype(np.float32))[:, None]
    probabilities = share * own.probabilities + (1 - share) * late.probabilities
    return Predicted(probabilities, own.weights, own.by_prior & late.by_prior)


@dataclass(frozen=True)
class Plan:
    """A member that is to be trained.

    Attributes:
        split: the training examples, and the validation examples if there are any.
        seed: its seed.
        spec: its head.
    """

    split: tuple[Examples, Examples | None]
    seed: int
    spec: HeadSpec


def fit_members(
    name: HeadName,
    features: Features,
    splits: Sequence[tuple[Examples, Examples | None]],
    seeds: Sequence[int],
    classes: int,
    params: TrainParams,
    compute: ComputeConfig = HERE,
    tick: Callable[[], None] = lambda: None,
) -> list[tuple[Member, list[Epoch]]]:
    """Train one member of a head for every seed and split, in this order; `fit_plans` has the details."""
    spec = head_of(name, params)
    plans = [Plan(split, seed, spec) for seed in seeds for split in splits]
    return fit_plans(features, plans, classes, compute, tick)


def fit_plans(
    features: Features,
    plans: Sequence[Plan],
    classes: int,
    compute: ComputeConfig = HERE,
    tick: Callable[[], None] = lambda: None,
) -> list[tuple[Member, list[Epoch]]]:
    """Train members whose heads are all of one class.

    A member does not depend on the others. Neither its scaler nor its prior depends on the validation examples.

    Args:
        features: the features of all clips, not standardised.
        plans: the members to train.
        classes: the number of classes.
        compute: where networks are trained.
        tick: called after each member.

    Returns:
        Each member with its training history, in the order of the plans.

    Raises:
        NumericsError: a numerical library would compute in another way than the module `numerics` has set.
    """
    numerics.check()
    splits = {id(plan.split): plan.split for plan in plans}
    each = {key: _start(features, train, validation, classes) for key, (train, validation) in splits.items()}
    starts = [each[id(plan.split)] for plan in plans]
    jobs = [
        TrainingJob(start.train, start.validation, start.scaler, plan.seed, plan.spec.params)
        for start, plan in zip(starts, plans, strict=True)
        if len(start.train.rows)
    ]
    fitted = iter(plans[0].spec.head.fit_all(features, jobs, classes, compute, tick) if jobs else [])
    members = []
    for start in starts:
        if len(start.train.rows):
            head, history = next(fitted)
            members.append((start.member(head), history))
        else:
            members.append((start.member(None), []))
            tick()
    return members


@dataclass(frozen=True)
class Start:
    """The common part of all members of one split; `prior` is float32 (C,)."""

    train: Examples
    validation: Examples | None
    scaler: Scaler
    prior: Matrix
    standard: Standard | None

    def member(self, head: Head | None) -> Member:
        """Return the member with this head."""
        return Member(self.scaler, head, self.prior, kind=self.train.kind, standard=self.standard)


def _start(features: Features, train: Examples, validation: Examples | None, classes: int) -> Start:
    """Fit the scaler, the prior and the standardisation of numbers, on the training examples alone.

    Examples without any modality are left out. Only the prior and the standardisation count them.
    """
    scaler = Scaler.fit(features.take(train.rows))
    held = train.at(np.flatnonzero(train.fold != NO_FOLD))  # pseudo-labels don't show how frequent a class is
    standard = None
    if train.kind == "class":
        prior = np.bincount(held.label, minlength=classes).astype(np.float32) / np.float32(len(held.label))
    else:
        prior = held.target.mean(axis=0, dtype=np.float64).astype(np.float32)
    if train.kind == "regression":
        standard = Standard.fit(train.target)
        train = replace(train, target=standard.apply(train.target))
        validation = validation and replace(validation, target=standard.apply(validation.target))

    def telling(examples: Examples) -> Examples:
        return examples.at(np.flatnonzero((features.mask[examples.rows] & scaler.known).any(axis=1)))

    seen = None if validation is None else telling(validation)
    return Start(telling(train), seen if seen is not None and len(seen.rows) else None, scaler, prior, standard)


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Run torch and BLAS with a fixed number of threads.

    Sums are split by thread, so their rounding depends on the number of threads.
    """
    torch.set_num_threads(INTRA_OP_THREADS)
    with threadpool_limits(INTRA_OP_THREADS):
        yield
