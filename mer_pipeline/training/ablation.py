"""The ablation stage: what each part of the system is worth, by changing it alone (variants.py) and measuring again.

Reference and variants are cross-validated on the same folds with the same seeds, and scored out of fold: against the
given labels, and against the truth where it is known. differences.py says whether a variant differs. What
the train stage has trained is taken from the store, and the reverse. Nothing is chosen by these figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mer_pipeline.base.modalities import Features, load_features
from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.base.runtime import raise_if_stopped
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import VISUAL, AblationParams
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.ablation import AblationMetrics, Compared, Reference, Variant
from mer_pipeline.metrics.scores import Score
from mer_pipeline.scores.ablation_table import nothing_measured, write_ablation
from mer_pipeline.scores.bootstrap import Units, units_of
from mer_pipeline.scores.confusion import IntArray
from mer_pipeline.scores.differences import compare
from mer_pipeline.scores.evaluation import read_groups
from mer_pipeline.scores.score import score
from mer_pipeline.training.cross_validation import read_labels, seeds_of
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.task import Task
from mer_pipeline.training.train import why_empty
from mer_pipeline.training.variants import Setting, variants


def ablate(params: AblationParams, task: Task, project: Project, cache: HeadCache, progress: Progress = quiet) -> str:
    """Run the stage; returns one line that says what came out.

    Args:
        params: the reference's head and seeds.
        task: what the reference learns, from which encoders, and how.
        project: where tables lie.
        cache: trains the heads, or remembers them.
        progress: told after every member.

    Raises:
        StageError: a table is missing or does not fit another.
    """
    measured = measure_project(params, task, project, cache, progress)
    if isinstance(measured, str):
        write_ablation(project, nothing_measured(measured))
        return f"ablation: nothing to measure: {measured}"
    write_ablation(project, measured)
    significant = sum(row.given.significant for row in measured.variants.values())
    return (
        f"ablation: {len(measured.variants)} variants of {params.head}, {significant} significantly different from it"
    )


def measure_project(
    params: AblationParams, task: Task, project: Project, cache: HeadCache, progress: Progress = quiet
) -> AblationMetrics | str:
    """As `ablate`, without writing; the reason, where nothing can be measured."""
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
    reference = Setting(params.head, whole.merged(encoders.merged, VISUAL), labels, train)
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
        features: of all encoders.
        groups: of each labelled clip.
        cache: trains the heads, or remembers them.
        progress: as in `ablate`.
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


def _predict(settings: Sequence[Setting], classes: int, cache: HeadCache, progress: Progress) -> list[list[IntArray]]:
    """What each setting's members say of clips that they have not seen: a prediction int64 (n,) per seed."""
    total = sum(one.labels.folds * len(seeds_of(one.head, one.params)) for one in settings)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    predicted = []
    for one in settings:
        raise_if_stopped()
        validated = cache.cross_validate(one.head, one.features, one.labels, classes, one.params, tick)
        predicted.append(list(validated.probabilities.argmax(axis=2)))
    return predicted


@dataclass(frozen=True)
class _Judged:
    """Scores by one yardstick, the variants in their order."""

    reference: Score
    variants: list[Compared]
    units: Units


def _judge(
    label: IntArray, rows: IntArray, groups: Sequence[str], predicted: Sequence[Sequence[IntArray]], classes: int
) -> _Judged:
    """Score the reference, which is the first, and compare the others with it, on some of the clips."""
    units, true = units_of([groups[i] for i in rows]), label[rows]
    reference, *others = [[one[rows] for one in system] for system in predicted]
    return _Judged(score(true, reference, classes), compare(true, reference, others, units, classes), units)
