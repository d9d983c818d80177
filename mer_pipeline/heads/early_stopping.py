"""When the training of a network ends, and which of its weights stay.

The best epoch is the one with the highest weighted F1 on the validation fold, of equals the one with the lowest
cross-entropy there (on twenty clips F1 stands still while the head still learns). Training ends `patience` epochs after
it. Without a validation fold it ends after `patience` epochs, and the last weights stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from mer_pipeline.base.modalities import Matrix
from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.base import Epoch, Examples, TrainingJob
from mer_pipeline.scores.confusion import Confusion


@dataclass(frozen=True)
class ValidationScore:
    """Of the validation rows: weighted F1 and minus the cross-entropy, and the logits float32 (n, C)."""

    value: tuple[float, float]
    logits: Matrix

    @classmethod
    def of(cls, examples: Examples, logits: Matrix, cross_entropy: float, classes: int) -> ValidationScore:
        """The score of logits on examples; the cross-entropy is their mean."""
        f1 = Confusion.of(examples.label, logits.argmax(axis=1), classes).weighted_f1
        return cls((f1, -cross_entropy), logits)


@dataclass
class Progress:
    """How far one member is: its index among the jobs, and its best validation epoch so far."""

    index: int
    job: TrainingJob
    params: NetworkParams
    order: torch.Generator
    history: list[Epoch] = field(default_factory=list)
    best: ValidationScore | None = None
    best_epoch: int = 0

    @classmethod
    def begin(cls, index: int, job: TrainingJob, params: NetworkParams) -> Progress:
        """Before the first epoch; the job's seed decides the order of the rows in every epoch."""
        return cls(index, job, params, torch.Generator().manual_seed(job.seed))

    @property
    def epochs(self) -> int:
        """How many there are at most; exactly so many without a validation fold."""
        if self.job.epochs is not None:
            return self.job.epochs
        own = self.params
        return own.epochs if self.job.validation is not None else min(own.patience, own.epochs)

    def after(self, epoch: int, loss: float, score: ValidationScore | None) -> bool:
        """Write an epoch down; whether its weights are the best so far. `score` is None without a validation fold."""
        self.history.append(Epoch(epoch, loss, None if score is None else score.value[0]))
        if score is None:
            return epoch == self.epochs - 1
        if self.best is not None and not score.value > self.best.value:  # not <=, for a loss that is no number
            return False
        self.best, self.best_epoch = score, epoch
        return True

    def ends(self, epoch: int) -> bool:
        """Whether an epoch is the last: there are no more, or the score has not become better for a while."""
        tired = self.job.validation is not None and epoch - self.best_epoch >= self.params.patience
        return tired or epoch == self.epochs - 1

    def whole(self) -> TrainingJob:
        """The validation rows are learnt from as well, for as many epochs as were best."""
        job = self.job
        assert job.validation is not None
        return replace(job, train=job.train.and_(job.validation), validation=None, epochs=self.best_epoch + 1)
