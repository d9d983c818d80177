"""Early stopping: decide when the training of a network ends, and which of its weights are kept.

The best epoch is the one with the highest figure on the validation fold (objective.py: weighted F1, mAP or CCC); among
equal ones, the one with the lowest loss there, because on twenty clips F1 often stays the same while the head still
learns. Training ends
`patience` epochs after the best epoch. Without a validation fold, training ends after `patience` epochs and the last
weights are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from mer_pipeline.base.modalities import Matrix
from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.base import Epoch, Examples, TrainingJob
from mer_pipeline.heads.objective import figure


@dataclass(frozen=True)
class ValidationScore:
    """The score of one epoch on the validation rows.

    Attributes:
        value: the figure of the kind of target and the negative mean loss; a larger tuple is better.
        logits: float32 (n, C), of the validation rows.
    """

    value: tuple[float, float]
    logits: Matrix

    @classmethod
    def of(cls, examples: Examples, logits: Matrix, loss: float) -> ValidationScore:
        """Return the score of these logits (n, C) on the examples; `loss` is the mean over the examples."""
        return cls((figure(examples.kind, examples.label, examples.target, logits), -loss), logits)


@dataclass
class Progress:
    """The progress of one member in training.

    Attributes:
        index: the index of the member among the jobs.
        job: its training job.
        params: its settings.
        order: the generator of the order of its rows.
        history: one line per epoch so far.
        best: the best validation score so far, if there is one.
        best_epoch: the epoch of `best`, from 0.
    """

    index: int
    job: TrainingJob
    params: NetworkParams
    order: torch.Generator
    history: list[Epoch] = field(default_factory=list)
    best: ValidationScore | None = None
    best_epoch: int = 0

    @classmethod
    def begin(cls, index: int, job: TrainingJob, params: NetworkParams) -> Progress:
        """Return the progress before the first epoch. The job's seed decides the order of the rows in every epoch."""
        return cls(index, job, params, torch.Generator().manual_seed(job.seed))

    @property
    def epochs(self) -> int:
        """The most epochs with a validation fold, and the exact number of epochs without one."""
        if self.job.epochs is not None:
            return self.job.epochs
        own = self.params
        return own.epochs if self.job.validation is not None else min(own.patience, own.epochs)

    def after(self, epoch: int, loss: float, score: ValidationScore | None) -> bool:
        """Record an epoch, and return whether its weights are the best so far.

        Args:
            epoch: the number of the epoch, from 0.
            loss: the mean training loss.
            score: the validation score, or None without a validation fold. Only the last epoch is then the best.
        """
        self.history.append(Epoch(epoch, loss, None if score is None else score.value[0]))
        if score is None:
            return epoch == self.epochs - 1
        if self.best is not None and not score.value > self.best.value:  # `not >` differs from `<=` for a loss of NaN
            return False
        self.best, self.best_epoch = score, epoch
        return True

    def ends(self, epoch: int) -> bool:
        """Return whether this epoch is the last one.

        It is if there are no more epochs, or if the validation score has not improved for `patience` epochs.
        """
        tired = self.job.validation is not None and epoch - self.best_epoch >= self.params.patience
        return tired or epoch == self.epochs - 1

    def whole(self) -> TrainingJob:
        """Return the job of the refit: it also learns from the validation rows, up to the number of the best epoch."""
        job = self.job
        assert job.validation is not None
        return replace(job, train=job.train.and_(job.validation), validation=None, epochs=self.best_epoch + 1)
