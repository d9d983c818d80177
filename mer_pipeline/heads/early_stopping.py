"""When the training of a network ends, and which of its weights stay.

The best epoch is the one with the highest weighted F1 on the validation fold, of equals the one with the lowest
cross-entropy there (on twenty clips F1 stands still while the head still learns). Training ends `patience` epochs after
it. Without a validation fold it ends after `patience` epochs, and the last weights stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from mer_pipeline.heads.base import Epoch, Examples, Lesson
from mer_pipeline.modalities import Matrix
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.train_params import NetworkParams


@dataclass(frozen=True)
class Seen:
    """Of the validation rows: weighted F1 and minus the cross-entropy, and the logits float32 (n, C)."""

    score: tuple[float, float]
    logits: Matrix

    @classmethod
    def of(cls, examples: Examples, logits: Matrix, cross_entropy: float, classes: int) -> Seen:
        """The score of logits on examples; the cross-entropy is their mean."""
        f1 = Confusion.of(examples.label, logits.argmax(axis=1), classes).weighted_f1
        return cls((f1, -cross_entropy), logits)


@dataclass
class Progress:
    """How far one member is: its index among the lessons, and its best validation epoch so far."""

    index: int
    lesson: Lesson
    params: NetworkParams
    order: torch.Generator
    history: list[Epoch] = field(default_factory=list)
    best: Seen | None = None
    best_epoch: int = 0

    @classmethod
    def begin(cls, index: int, lesson: Lesson, params: NetworkParams) -> Progress:
        """Before the first epoch; the lesson's seed decides the order of the rows in every epoch."""
        return cls(index, lesson, params, torch.Generator().manual_seed(lesson.seed))

    @property
    def epochs(self) -> int:
        """How many there are at most; exactly so many without a validation fold."""
        if self.lesson.epochs is not None:
            return self.lesson.epochs
        own = self.params
        return own.epochs if self.lesson.validation is not None else min(own.patience, own.epochs)

    def after(self, epoch: int, loss: float, seen: Seen | None) -> bool:
        """Write an epoch down; whether its weights are the best so far. `seen` is None without a validation fold."""
        self.history.append(Epoch(epoch, loss, None if seen is None else seen.score[0]))
        if seen is None:
            return epoch == self.epochs - 1
        if self.best is not None and not seen.score > self.best.score:  # not <=, for a loss that is no number
            return False
        self.best, self.best_epoch = seen, epoch
        return True

    def ends(self, epoch: int) -> bool:
        """Whether an epoch is the last: there are no more, or the score has not become better for a while."""
        tired = self.lesson.validation is not None and epoch - self.best_epoch >= self.params.patience
        return tired or epoch == self.epochs - 1

    def whole(self) -> Lesson:
        """The validation rows are learnt from as well, for as many epochs as were best."""
        lesson = self.lesson
        assert lesson.validation is not None
        return replace(lesson, train=lesson.train.and_(lesson.validation), validation=None, epochs=self.best_epoch + 1)
