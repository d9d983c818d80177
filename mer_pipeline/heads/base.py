"""The interface of a fusion head, which learns from standardised features and scores groups of exactly GROUP clips.

At one fixed shape, the result for a row does not depend on the other rows. So a clip gets the same bytes alone and in
any batch. `groups.py` makes the groups. For a clip without any modality, `member.py` returns the training prior; the
head's result for such a row must be finite, but it is never used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import JsonValue

from mer_pipeline.base.kind import Kind
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
        rows: int64 (n,), the index of each clip's row in the features.
        label: int64 (n,), the index of each clip's class.
        fold: int64 (n,), the fold of each clip; NO_FOLD for a clip that is never held out.
        target: float32 (n, C), the distribution over the classes that is learnt for each clip.
        weight: float32 (n,), the weight of each clip in the loss, 1 on average.
        kind: the kind of target. For sets of classes, `target` is 0 and 1; for numbers, it is the numbers, which are
            standardised in a training job. `label` then says only which clips have the same label.
    """

    rows: Indices
    label: Indices
    fold: Indices
    target: Matrix
    weight: Matrix
    kind: Kind = "class"

    @classmethod
    def of(cls, rows: Indices, label: Indices, fold: Indices, classes: int) -> Examples:
        """Return examples whose targets are the one-hot labels, all with weight 1."""
        return cls(rows, label, fold, np.eye(classes, dtype=np.float32)[label], np.ones(len(rows), np.float32))

    def at(self, keep: Indices) -> Examples:
        """Return the examples at these indices."""
        rows, label, fold = self.rows[keep], self.label[keep], self.fold[keep]
        return Examples(rows, label, fold, self.target[keep], self.weight[keep], self.kind)

    def and_(self, other: Examples) -> Examples:
        """Return these examples followed by the others."""
        return Examples(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.label, other.label]),
            np.concatenate([self.fold, other.fold]),
            np.concatenate([self.target, other.target]),
            np.concatenate([self.weight, other.weight]),
            self.kind,
        )


@dataclass(frozen=True)
class TrainingJob:
    """What one head learns from.

    Every row has at least one modality that the scaler does not mask.

    Attributes:
        train: the examples that are learnt from.
        validation: the examples of the validation fold, if there is one.
        scaler: the standardisation, fitted on the training rows.
        seed: the seed of all random choices.
        params: the settings, an instance of the head's `Params`.
        epochs: the exact number of epochs; None to follow the params.
    """

    train: Examples
    validation: Examples | None
    scaler: Scaler
    seed: int
    params: Section
    epochs: int | None = None


@dataclass(frozen=True)
class ComputeConfig:
    """Where networks are trained.

    On CPUs the results are the same to the bit; on a GPU their last digits differ.

    Attributes:
        device: the device.
        workers: the number of threads that train at once, on a CPU.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    workers: int = 1


@dataclass(frozen=True)
class Epoch:
    """One line of a training history. `validation_f1` is the weighted F1, or None without a validation fold."""

    epoch: int
    train_loss: float
    validation_f1: float | None


@dataclass(frozen=True)
class Logits:
    """The result of a head for n clips.

    Attributes:
        values: float32 (n, C), log-probabilities up to a constant per row; for the other kinds of target, what
            `meaning` of objective.py takes.
        weights: float32 (n, M), the modality weights.
    """

    values: Matrix
    weights: Matrix


class Head(ABC):
    """The base class of fusion heads, for modalities of `dims` values and `classes` classes.

    Attributes:
        Params: the class of its params. Fields that `train` has too get their values from there. The others are the
            head's own options, given in its entry of `train.heads`.
        ablations: rows of the ablation table by name: the values of own options that switch a part of the head off.
        seeded: whether the seed matters. If not, one seed is enough.
        searched: whether `train.search` chooses values for it.
        uses_validation: whether it needs a validation fold for early stopping. If not, it learns from that fold too.
        kinds: the kinds of target that it can learn.
        version: a number to raise when the default of an option changes, because options with their default value are
            not part of the key of the head cache.
    """

    Params: ClassVar[type[Section]] = Section
    ablations: ClassVar[Ablations] = {}
    seeded: ClassVar[bool] = True
    searched: ClassVar[bool] = False
    uses_validation: ClassVar[bool] = True
    kinds: ClassVar[frozenset[Kind]] = frozenset({"class"})
    version: ClassVar[int] = 1
    params: Section

    def __init__(self, dims: tuple[int, ...], classes: int, params: Section) -> None:
        self.dims, self.classes, self.params = dims, classes, params

    @classmethod
    def code(cls) -> tuple[type, ...]:
        """Return the classes whose code determines the trained head.

        Classes that the code of these names need not be listed.
        """
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
        """Train one head per job. A head does not depend on the other jobs.

        Args:
            features: the features of all clips, not standardised.
            jobs: what each head learns from.
            classes: the number of classes.
            compute: where networks are trained.
            tick: called once for each head that is trained.

        Returns:
            Each head with its training history, in the order of the jobs.
        """

    @abstractmethod
    def score(self, group: Features) -> Logits:
        """Score exactly GROUP rows of standardised features, each independently of the others."""

    @abstractmethod
    def tensors(self) -> dict[str, Matrix]:
        """Return all learnt arrays by name."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """Load the arrays that `tensors` of a trained head returned."""
