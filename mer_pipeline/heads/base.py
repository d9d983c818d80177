"""What a fusion head is: it learns from standardised features, and scores groups of exactly GROUP clips.

At one fixed shape a row's result does not depend on its companions, so a clip alone and in any batch gets the same
bytes; `member.py` makes the groups. It also answers, with the training prior, for a clip that has no modality at
all: what a head says about such a row is finite and never read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import JsonValue

from mer_pipeline.base.modalities import Features, Indices, Matrix
from mer_pipeline.config.section import Section
from mer_pipeline.heads.scaler import Scaler

Ablations = Mapping[str, Mapping[str, JsonValue]]

GROUP = 64
NO_FOLD = -1


@dataclass(frozen=True)
class Examples:
    """n clips to learn from or to validate on.

    Attributes:
        rows: int64 (n,), among all features.
        label: int64 (n,).
        fold: int64 (n,), NO_FOLD for one that is never held out.
        target: float32 (n, C), what is learnt: a distribution over the classes each.
        weight: float32 (n,), how much each counts, 1 on average.
    """

    rows: Indices
    label: Indices
    fold: Indices
    target: Matrix
    weight: Matrix

    @classmethod
    def of(cls, rows: Indices, label: Indices, fold: Indices, classes: int) -> Examples:
        """The labels as they are, all of the same weight."""
        return cls(rows, label, fold, np.eye(classes, dtype=np.float32)[label], np.ones(len(rows), np.float32))

    def at(self, keep: Indices) -> Examples:
        """Some of them."""
        return Examples(self.rows[keep], self.label[keep], self.fold[keep], self.target[keep], self.weight[keep])

    def and_(self, other: Examples) -> Examples:
        """These, then those."""
        return Examples(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.label, other.label]),
            np.concatenate([self.fold, other.fold]),
            np.concatenate([self.target, other.target]),
            np.concatenate([self.weight, other.weight]),
        )


@dataclass(frozen=True)
class TrainingJob:
    """What one head learns from, and how; every row has at least one modality that the scaler lets through."""

    train: Examples
    validation: Examples | None
    scaler: Scaler
    seed: int
    params: Section  # the head's `Params`
    epochs: int | None = None  # exactly so many; None: as the params say


@dataclass(frozen=True)
class ComputeConfig:
    """Where networks are trained. On a CPU it changes no bit of a result, on a GPU the last digits."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    workers: int = 1  # threads that train at once, on a CPU


@dataclass(frozen=True)
class Epoch:
    """One line of a training history; `validation_f1` is None without a validation fold."""

    epoch: int
    train_loss: float
    validation_f1: float | None


@dataclass(frozen=True)
class Logits:
    """Unnormalised log-probabilities float32 (n, C), and modality weights float32 (n, M)."""

    values: Matrix
    weights: Matrix


class Head(ABC):
    """A fusion head for modalities of `dims` values and `classes` classes.

    Attributes:
        Params: the class of its params. Fields that `train` has as well get their values from there; the others are the
            head's own options, given in its entry of `train.heads`.
        ablations: rows of the ablation table by name: values of own options at which a part of the head is off.
        seeded: false: every seed gives the same head, so one is enough.
        searched: true: `train.search` has values for it.
        uses_validation: false: it needs no fold for early stopping and learns from that one too.
        version: raised by whoever changes the default of an option; params enter the key without those at default.
    """

    Params: ClassVar[type[Section]] = Section
    ablations: ClassVar[Ablations] = {}
    seeded: ClassVar[bool] = True
    searched: ClassVar[bool] = False
    uses_validation: ClassVar[bool] = True
    version: ClassVar[int] = 1
    params: Section

    def __init__(self, dims: tuple[int, ...], classes: int, params: Section) -> None:
        self.dims, self.classes, self.params = dims, classes, params

    @classmethod
    def code(cls) -> tuple[type, ...]:
        """The classes that decide what it becomes, beyond those that its own code names."""
        return (cls,)

    @classmethod
    @abstractmethod
    def fit_all(
        cls,
        features: Features,
        jobs: Sequence[TrainingJob],
        classes: int,
        compute: ComputeConfig,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """Do every job, on raw features. What one head becomes does not depend on the others; `tick` follows each."""

    @abstractmethod
    def score(self, group: Features) -> Logits:
        """Score exactly GROUP rows of standardised features, each on its own."""

    @abstractmethod
    def tensors(self) -> dict[str, Matrix]:
        """All that was learnt, by name."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """Become the head that `tensors` were taken from."""
