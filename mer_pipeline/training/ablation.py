"""The stage `ablation`: measure what each part of the system contributes, by changing one part at a time (variants.py).

Reference and variants are cross-validated on the same folds with the same seeds. They are scored out of fold against
the given labels, and against the true labels where these are known. differences.py tests whether a variant differs
from the reference. Heads that the stage `train` has trained are taken from the head cache, and vice versa. No choice
depends on these scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mer_pipeline.base.modalities import Features, Matrix, load_features
from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.base.runtime import raise_if_stopped
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import VISUAL, AblationParams, PredictParams
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.ablation import AblationMetrics, Compared, Reference, Variant
from mer_pipeline.metrics.scores import Score
from mer_pipeline.scores.ablation_table import nothing_measured, write_ablation
from mer_pipeline.scores.bootstrap import Units, units_of
from mer_pipeline.scores.confusion import IntArray
from mer_pipeline.scores.differences import compare
from mer_pipeline.scores.evaluation import read_groups
from mer_pipeline.scores.prior_shift import shift_out_of_fold
from mer_pipeline.scores.score import score
from mer_pipeline.training.cross_validation import per_fold
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.labels import read_labels
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.task import Task
from mer_pipeline.training.train import why_empty
from mer_pipeline.training.variants import Setting, variants


def ablate(
    params: AblationParams,
    final: PredictParams,
    task: Task,
    project: Project,
    cache: HeadCache,
    progress: Progress = quiet,
) -> str:
    """Run the stage, and return one line that sums up the result.

    Args:
        params: the head and the seeds of the reference.
        final: whether its predictions get the prior shift.
        task: the classes, encoders and settings of training of the reference.
        project: the paths of the tables.
        cache: the head cache, which trains heads or finds them in the store.
        progress: called after every member.

    Raises:
        StageError: a table is missing or does not fit another.
    """
    measured = measure_project(params, final, task, project, cache, progress)
    if isinstance(measured, str):
        write_ablation(project, nothing_measured(measured))
        return f"ablation: nothing to measure: {measured}"
    write_ablation(project, measured)
    significant = sum(row.given.significant for row in measured.variants.values())
    return (
        f"ablation: {len(measured.variants)} variants of {params.head}, {significant} significantly different from it"
    )


def measure_project(
    params: AblationParams,
    final: PredictParams,
    task: Task,
    project: Project,
    cache: HeadCache,
    progress: Progress = quiet,
) -> AblationMetrics | str:
    """Measure as `ablate` does, but write nothing. Return the reason instead if nothing can be measured."""
    encoders, labels = task.encoders, read_labels(project, task.classes)
    empty = why_empty(labels)
    if empty is not None:
        return empty
    needed = dict.fromkeys((*encoders.all, *(encoders.plain if encoders.mixed else ())))
    features = load_features(project.features, tuple(needed), labels.all_ids)
    whole = features.select(encoders.all)
    if not whole.mask[: len(labels.fold)].any():
        return "no labelled clip has any modality"
    train = task.train.model_copy(update={"seeds": params.seeds or task.train.seeds})
    reference = Setting(params.head, whole.merged(encoders.merged, VISUAL), labels, train, final.prior)
    groups = read_groups(project.manifest, labels.clip_ids)
    with fixed_threads():
        return measure(reference, task, features, groups, cache, progress)


def measure(
    reference: Setting,
    task: Task,
    features: Features,
    groups: Sequence[str],
    cache: HeadCache,
    progress: Progress = quiet,
) -> AblationMetrics:
    """Cross-validate the reference and its variants, and compare them.

    Args:
        reference: the whole system.
        task: its classes and encoders.
        features: the features of all encoders.
        groups: the group of each labelled clip.
        cache: the head cache, which trains heads or finds them in the store.
        progress: called after every member.
    """
    encoders, classes = task.encoders, len(task.classes)
    params, other = reference.params, None
    if len(encoders.visual) > 1:
        tokens = features.select(encoders.all)
        other = tokens if encoders.merged else tokens.merged(encoders.visual, VISUAL)
    everything = features.merged(encoders.merged, VISUAL)
    others = variants(reference, everything, encoders.mixed, encoders.plain, tuple(params.heads), other)
    predicted = _predict([reference, *(one.setting for one in others)], classes, cache, progress)
    labels = reference.labels
    given = _judge(labels.given, np.arange(len(labels.given)), groups, predicted, classes)
    judged = np.flatnonzero(labels.true != MISSING)
    true = _judge(labels.true, judged, groups, predicted, classes) if len(judged) else None
    return AblationMetrics(
        enabled=True,
        empty=None,
        head=reference.head,
        modalities=reference.features.names,
        seeds=reference.params.seeds,
        folds=labels.folds,
        over=given.units.over,
        units=given.units.count,
        caveat=given.units.caveat,
        reference=Reference(given=given.reference, true=None if true is None else true.reference),
        variants={
            one.name: Variant(
                kind=one.kind,
                head=one.setting.head,
                modalities=one.setting.features.names,
                given=given.variants[at],
                true=None if true is None else true.variants[at],
            )
            for at, one in enumerate(others)
        },
    )


def _predict(settings: Sequence[Setting], classes: int, cache: HeadCache, progress: Progress) -> list[Matrix]:
    """Return the out-of-fold probabilities of each setting, float32 (S, n, C)."""
    total = sum(one.labels.folds * per_fold(one.head, one.params) for one in settings)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    predicted = []
    for one in settings:
        raise_if_stopped()
        validated = cache.cross_validate(one.head, one.features, one.labels, classes, one.params, tick)
        said, told = validated.probabilities, ~validated.by_prior
        if one.prior == "em":
            said = np.stack([shift_out_of_fold(each, one.labels.given, one.labels.fold, told) for each in said])
        predicted.append(said)
    return predicted


@dataclass(frozen=True)
class _Judged:
    """The scores of the reference and of the variants, in their order, against one kind of label."""

    reference: Score
    variants: list[Compared]
    units: Units


def _judge(
    label: IntArray, rows: IntArray, groups: Sequence[str], predicted: Sequence[Matrix], classes: int
) -> _Judged:
    """Score the reference, which is the first of `predicted`, on some clips, and compare the others with it.

    Args:
        label: int64 (n,), the labels to score against.
        rows: the indices of the clips that are scored.
        groups: the group of each of the n clips.
        predicted: for each system the probabilities, float32 (S, n, C).
        classes: the number of classes.
    """
    units, true = units_of([groups[i] for i in rows]), label[rows]
    reference, *others = [list(system[:, rows]) for system in predicted]
    return _Judged(score(true, reference), compare(true, reference, others, units, classes), units)
