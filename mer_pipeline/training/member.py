"""One trained member of an ensemble: the scaler, the head and the prior that come from one set of training rows.

A clip that has no modality which the member knows gets the training prior, never a guess from zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mer_pipeline.base import numerics
from mer_pipeline.base.modalities import Features, Mask, Matrix
from mer_pipeline.base.runtime import INTRA_OP_THREADS
from mer_pipeline.config.train_params import HeadName, TrainParams, Value
from mer_pipeline.heads.base import GROUP, NO_FOLD, ComputeConfig, Epoch, Examples, Head, TrainingJob
from mer_pipeline.heads.groups import groups
from mer_pipeline.heads.linear import log_softmax
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.scaler import Scaler
from mer_pipeline.heads.spec import HeadSpec

HERE = ComputeConfig()
Chosen = Mapping[str, Value]


@dataclass(frozen=True)
class Predicted:
    """What a member says of n clips.

    Attributes:
        probabilities: float32 (n, C).
        weights: float32 (n, M), how much each modality counted; zeros where it is absent.
        by_prior: bool (n,), the clip has nothing to go by: its probabilities are the prior.
    """

    probabilities: Matrix
    weights: Matrix
    by_prior: Mask


@dataclass(frozen=True)
class Member:
    """See the module. `head` is None where the training rows had nothing to learn from; `prior` is float32 (C,).

    `chosen` are the params that a search found for it, in place of those in params.yaml.
    """

    scaler: Scaler
    head: Head | None
    prior: Matrix
    chosen: Chosen = field(default_factory=dict)

    def predict(self, features: Features) -> Predicted:
        """Score any number of clips, in groups of one fixed size."""
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
            probabilities[~by_prior] = np.exp(log_softmax(said.values))[~by_prior]
            weights[~by_prior] = said.weights[~by_prior]
        return Predicted(probabilities[:n], weights[:n], by_prior[:n])


@dataclass(frozen=True)
class Plan:
    """A member to be: the rows it learns from, those whose score says when to stop, and what learns."""

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
    """Train one of a head for every seed and split, as `fit_plans` does."""
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
    """Train on raw features, all of one class of heads; what a member becomes does not depend on the others.

    `tick` follows each.
    Neither scaler nor prior sees a validation row.

    Raises:
        NumericsError: a library would compute otherwise than params.yaml says.
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
            members.append((Member(start.scaler, head, start.prior), history))
        else:
            members.append((Member(start.scaler, None, start.prior), []))
            tick()
    return members


@dataclass(frozen=True)
class Start:
    """What all members of one split have in common; `prior` is float32 (C,)."""

    train: Examples
    validation: Examples | None
    scaler: Scaler
    prior: Matrix


def _start(features: Features, train: Examples, validation: Examples | None, classes: int) -> Start:
    """Leave out the clips that have nothing to learn from; the prior counts them."""
    scaler = Scaler.fit(features.take(train.rows))
    held = train.at(np.flatnonzero(train.fold != NO_FOLD))  # a pseudo-label says nothing of how frequent its class is
    prior = np.bincount(held.label, minlength=classes).astype(np.float32) / np.float32(len(held.label))

    def telling(examples: Examples) -> Examples:
        return examples.at(np.flatnonzero((features.mask[examples.rows] & scaler.known).any(axis=1)))

    seen = None if validation is None else telling(validation)
    return Start(telling(train), seen if seen is not None and len(seen.rows) else None, scaler, prior)


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Sums are split by thread, so their rounding depends on the count: keep it constant for torch and BLAS."""
    torch.set_num_threads(INTRA_OP_THREADS)
    with threadpool_limits(INTRA_OP_THREADS):
        yield
