"""One trained member of an ensemble: the scaler, the head and the prior that come from one set of training rows.

A clip that has no modality which the member knows gets the training prior, never a guess from zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mer_pipeline.fusion.features import Features, Mask, Matrix, Rows
from mer_pipeline.fusion.heads import HEADS
from mer_pipeline.fusion.heads.base import GROUP, Epoch, Examples, Head, Lesson, Place
from mer_pipeline.fusion.heads.linear import log_softmax
from mer_pipeline.fusion.scaler import Scaler
from mer_pipeline.params import HeadName, TrainParams
from mer_pipeline.runtime import INTRA_OP_THREADS

HERE = Place()


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


def fit_members(
    name: HeadName,
    features: Features,
    splits: Sequence[tuple[Examples, Examples | None]],
    seeds: Sequence[int],
    classes: int,
    params: TrainParams,
    place: Place = HERE,
    tick: Callable[[], None] = lambda: None,
) -> list[tuple[Member, list[Epoch]]]:
    """Train on raw features: for every seed, each split into training and watched rows.

    Neither scaler nor prior sees a watched row. What a member becomes does not depend on the others; `tick` follows
    each.
    """
    starts = [_start(features, train, watched, classes) for train, watched in splits]
    lessons = [replace(lesson, seed=seed) for seed in seeds for lesson, _ in starts]
    taught = [lesson for lesson in lessons if len(lesson.train.rows)]
    fitted = iter(HEADS[name].fit_all(features, taught, classes, params, place, tick) if taught else [])
    members = []
    for lesson, (_, prior) in zip(lessons, [start for _ in seeds for start in starts], strict=True):
        if len(lesson.train.rows):
            head, history = next(fitted)
            members.append((Member(lesson.scaler, head, prior), history))
        else:
            members.append((Member(lesson.scaler, None, prior), []))
            tick()
    return members


def _start(features: Features, train: Examples, watched: Examples | None, classes: int) -> tuple[Lesson, Matrix]:
    """The lesson, without the clips that have nothing to learn from, and the prior, which counts them."""
    scaler = Scaler.fit(features.take(train.rows))
    prior = np.bincount(train.label, minlength=classes).astype(np.float32) / np.float32(len(train.label))

    def telling(examples: Examples) -> Examples:
        return examples.at(np.flatnonzero((features.mask[examples.rows] & scaler.known).any(axis=1)))

    seen = None if watched is None else telling(watched)
    return Lesson(telling(train), seen if seen is not None and len(seen.rows) else None, scaler, seed=0), prior


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Sums are split by thread, so their rounding depends on the count: keep it constant for torch and BLAS."""
    torch.set_num_threads(INTRA_OP_THREADS)
    with threadpool_limits(INTRA_OP_THREADS):
        yield


def _groups(n: int) -> list[Rows]:
    return [np.arange(start, min(start + GROUP, n)) for start in range(0, n, GROUP)]


def _fill(features: Features) -> Features:
    """Add rows without any modality up to GROUP."""
    short = GROUP - len(features)
    x = tuple(np.pad(matrix, ((0, short), (0, 0))) for matrix in features.x)
    return Features(features.names, x, np.pad(features.mask, ((0, short), (0, 0))))
