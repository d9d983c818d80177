"""One trained member of an ensemble: the scaler, the head and the prior that come from one set of training rows.

A clip that has no modality which the member knows gets the training prior, never a guess from zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mer_pipeline.fusion.features import Features, Mask, Matrix, Rows
from mer_pipeline.fusion.heads import HEADS
from mer_pipeline.fusion.heads.base import GROUP, Epoch, Examples, Head
from mer_pipeline.fusion.heads.linear import log_softmax
from mer_pipeline.fusion.scaler import Scaler
from mer_pipeline.params import HeadName, TrainParams
from mer_pipeline.runtime import INTRA_OP_THREADS


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
    """See the module. `head` is None where the training rows had nothing to learn from; `prior` is float32 (C,)."""

    scaler: Scaler
    head: Head | None
    prior: Matrix

    @classmethod
    def fit(
        cls,
        name: HeadName,
        train: Examples,
        watched: Examples | None,
        classes: int,
        params: TrainParams,
        seed: int,
    ) -> tuple[Member, list[Epoch]]:
        """Train on raw features; neither the scaler nor the prior sees the watched rows."""
        scaler = Scaler.fit(train.features)
        prior = np.bincount(train.label, minlength=classes).astype(np.float32) / np.float32(len(train.label))
        learnt, seen = _scaled(train, scaler), None if watched is None else _scaled(watched, scaler)
        if not len(learnt.label):
            return cls(scaler, None, prior), []
        head = HEADS[name](train.features.dims, classes, params)
        history = head.fit(learnt, seen if seen is not None and len(seen.label) else None, seed)
        return cls(scaler, head, prior), history

    def predict(self, features: Features) -> Predicted:
        """Score any number of clips, in groups of one fixed size."""
        parts = [self._group(features.take(rows)) for rows in _groups(len(features))]
        return Predicted(
            np.concatenate([np.zeros((0, len(self.prior)), np.float32), *(part.probabilities for part in parts)]),
            np.concatenate([np.zeros((0, len(features.names)), np.float32), *(part.weights for part in parts)]),
            np.concatenate([np.zeros(0, bool), *(part.by_prior for part in parts)]),
        )

    def _group(self, features: Features) -> Predicted:
        n, scaled = len(features), self.scaler.apply(_fill(features))
        by_prior = np.ones(GROUP, dtype=bool)
        probabilities, weights = np.tile(self.prior, (GROUP, 1)), np.zeros(scaled.mask.shape, dtype=np.float32)
        if self.head is not None:
            by_prior = np.asarray(~scaled.mask.any(axis=1))
            said = self.head.score(scaled)
            probabilities[~by_prior] = np.exp(log_softmax(said.values))[~by_prior]
            weights[~by_prior] = said.weights[~by_prior]
        return Predicted(probabilities[:n], weights[:n], by_prior[:n])


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Sums are split by thread, so their rounding depends on the count: keep it constant for torch and BLAS."""
    torch.set_num_threads(INTRA_OP_THREADS)
    with threadpool_limits(INTRA_OP_THREADS):
        yield


def _scaled(examples: Examples, scaler: Scaler) -> Examples:
    """Standardised, without the clips that have nothing to learn from."""
    scaled = scaler.apply(examples.features)
    rows = np.flatnonzero(scaled.mask.any(axis=1))
    return Examples(scaled.take(rows), examples.label[rows], examples.fold[rows])


def _groups(n: int) -> list[Rows]:
    return [np.arange(start, min(start + GROUP, n)) for start in range(0, n, GROUP)]


def _fill(features: Features) -> Features:
    """Add rows without any modality up to GROUP."""
    short = GROUP - len(features)
    x = tuple(np.pad(matrix, ((0, short), (0, 0))) for matrix in features.x)
    return Features(features.names, x, np.pad(features.mask, ((0, short), (0, 0))))
