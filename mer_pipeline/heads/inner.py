"""Cross-validation inside a training job: what heads say of its own rows, each fold of them left out in turn.

Whatever is chosen by this never sees the fold that the job's head is scored on: that one is not in the job. The fold
that is used for validation stays the same, and is in no inner score either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mer_pipeline.base.modalities import Features, Mask, Matrix
from mer_pipeline.config.section import Section
from mer_pipeline.heads.base import NO_FOLD, ComputeConfig, Head, TrainingJob
from mer_pipeline.heads.groups import probabilities
from mer_pipeline.heads.scaler import Scaler
from mer_pipeline.heads.spec import HeadSpec


def job_for(head: type[Head], job: TrainingJob, params: Section) -> TrainingJob:
    """The job as a head does it: by its own params, and learning from the validation fold too where it needs none."""
    job = replace(job, params=params)
    if head.uses_validation or job.validation is None:
        return job
    return replace(job, train=job.train.and_(job.validation), validation=None)


def inner_folds(job: TrainingJob) -> list[int]:
    """The folds of its training rows."""
    return [fold for fold in np.unique(job.train.fold).tolist() if fold != NO_FOLD]


def without(job: TrainingJob, fold: int, features: Features) -> TrainingJob:
    """The job without a fold of its training rows, standardised without it too."""
    train = job.train.at(np.flatnonzero(job.train.fold != fold))
    return replace(job, train=train, scaler=Scaler.fit(features.take(train.rows)))


def held_out(
    spec: HeadSpec, features: Features, jobs: Sequence[TrainingJob], classes: int, compute: ComputeConfig
) -> list[tuple[Matrix, Mask]]:
    """Of each job with two folds or more: probabilities float32 (n, C) of its n training rows, and where there are.

    All inner members of all jobs train at once.
    """
    inner = [(at, fold, without(one, fold, features)) for at, one in enumerate(jobs) for fold in inner_folds(one)]
    quiet: Callable[[], None] = lambda: None  # noqa: E731  (a member of a member is no progress)
    own = [job_for(spec.head, job, spec.params) for *_, job in inner]
    fitted = spec.head.fit_all(features, own, classes, compute, quiet)
    said = [
        (np.zeros((len(one.train.rows), classes), np.float32), np.zeros(len(one.train.rows), dtype=bool))
        for one in jobs
    ]
    for (at, fold, job), (learnt, _) in zip(inner, fitted, strict=True):
        rows = np.flatnonzero(jobs[at].train.fold == fold)
        scored = features.take(jobs[at].train.rows[rows])
        told, known = said[at]
        told[rows] = probabilities(learnt, job.scaler, scored, classes)
        known[rows] = (scored.mask & job.scaler.known).any(axis=1)
    return said
