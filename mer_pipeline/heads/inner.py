"""Cross-validation inside a training job: predict its training rows, with each of their folds left out in turn.

A choice that is made by these predictions never depends on the fold that the job's head is scored on, because that fold
is not in the job. The validation fold stays the same and is not predicted either.
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
    """Return the job adapted to a head.

    It has the head's params. If the head needs no validation fold, its validation rows are added to the training rows.
    """
    job = replace(job, params=params)
    if head.uses_validation or job.validation is None:
        return job
    return replace(job, train=job.train.and_(job.validation), validation=None)


def inner_folds(job: TrainingJob) -> list[int]:
    """Return the folds of the job's training rows, sorted."""
    return [fold for fold in np.unique(job.train.fold).tolist() if fold != NO_FOLD]


def without(job: TrainingJob, fold: int, features: Features) -> TrainingJob:
    """Return the job without one fold of its training rows. The standardisation is fitted without it as well."""
    train = job.train.at(np.flatnonzero(job.train.fold != fold))
    return replace(job, train=train, scaler=Scaler.fit(features.take(train.rows)))


def held_out(
    spec: HeadSpec, features: Features, jobs: Sequence[TrainingJob], classes: int, compute: ComputeConfig
) -> list[tuple[Matrix, Mask]]:
    """Predict the training rows of each job by heads that have not seen their fold.

    All inner members of all jobs are trained in one call.

    Args:
        spec: the head.
        features: the features of all clips, not standardised.
        jobs: the jobs, each with at least two folds among its training rows.
        classes: the number of classes.
        compute: where networks are trained.

    Returns:
        For each job the probabilities, float32 (n, C), of its n training rows, and bool (n,), which rows have some.
    """
    inner = [(at, fold, without(one, fold, features)) for at, one in enumerate(jobs) for fold in inner_folds(one)]
    quiet: Callable[[], None] = lambda: None  # noqa: E731  (inner members are not counted as progress)
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
