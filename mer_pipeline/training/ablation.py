"""The ablation stage: what each part of the system is worth, by changing it alone (variants.py) and measuring again.

Reference and variants are cross-validated on the same folds with the same seeds, and scored out of fold: against the
given labels, and against the truth where it is known. differences.py says whether a variant differs. What
the train stage has trained is taken from the store, and the reverse. Nothing is chosen by these figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mer_pipeline.heads.base import ComputeConfig
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.ablation import AblationMetrics, Compared, Reference, Variant
from mer_pipeline.metrics.scores import Score
from mer_pipeline.modalities import Features, load_features
from mer_pipeline.runtime import raise_if_stopped
from mer_pipeline.scores.ablation_table import AblationFiles, nothing_measured, write_ablation
from mer_pipeline.scores.bootstrap import Units, units_of
from mer_pipeline.scores.confusion import IntArray
from mer_pipeline.scores.differences import compare
from mer_pipeline.scores.evaluation import read_groups
from mer_pipeline.scores.score import score
from mer_pipeline.train_params import VISUAL, AblationParams, TrainParams
from mer_pipeline.training.cross_validation import read_labels, seeds_of
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import HERE, fixed_threads
from mer_pipeline.training.train import why_empty
from mer_pipeline.training.variants import Setting, variants


@dataclass(frozen=True)
class AblationPaths:
    """Where the stage reads and writes."""

    features: Path  # folder of the encoders' folders
    manifest: Path  # for the groups
    labels: Path
    folds: Path
    truth: Path
    written: AblationFiles
    pseudo: Path | None = None  # labels of clips of the pool


@dataclass(frozen=True)
class Encoders:
    """Which encoders there are, by name.

    Attributes:
        all: that the system reads, in token order.
        mixed: those of them that read the enriched text.
        plain: that read the plain words, whether the system reads them or not.
        visual: those of `all` that see pictures.
    """

    all: tuple[str, ...]
    mixed: tuple[str, ...]
    plain: tuple[str, ...]
    visual: tuple[str, ...] = ()


def ablate(
    ablation: AblationParams,
    params: TrainParams,
    encoders: Encoders,
    classes: tuple[str, ...],
    paths: AblationPaths,
    progress: Callable[[int, int], None] = lambda done, total: None,
    store: str | None = None,
    compute: ComputeConfig = HERE,
) -> str:
    """Run the stage; returns one line that says what came out.

    Args:
        ablation: the reference's head and seeds.
        params: of training.
        encoders: of the reference, and those that can take a place in it.
        classes: in order.
        paths: where.
        progress: told after every member, with how many are done and how many there will be.
        store: URL of the store that remembers trained heads; None: nothing is remembered.
        compute: device and threads of the training.

    Raises:
        StageError: a table is missing or does not fit another.
    """
    labels = read_labels(paths.labels, paths.folds, paths.truth, classes, paths.pseudo)
    empty = why_empty(labels)
    features = None
    if empty is None:
        needed = dict.fromkeys((*encoders.all, *(encoders.plain if encoders.mixed else ())))
        features = load_features(paths.features, tuple(needed), labels.all_ids)
        seen = features.select(encoders.all).mask[: len(labels.fold)]
        empty = None if seen.any() else "no labelled clip has any modality"
    if features is None or empty is not None:
        write_ablation(paths.written, nothing_measured(empty))
        return f"ablation: nothing to measure: {empty}"
    params = params.model_copy(update={"seeds": ablation.seeds or params.seeds})
    reference = Setting(ablation.head, _seen(features.select(encoders.all), encoders, params), labels, params)
    groups = read_groups(paths.manifest, labels.clip_ids)
    with fixed_threads():
        measured = measure(reference, features, encoders, groups, len(classes), HeadCache(store, compute), progress)
    write_ablation(paths.written, measured)
    significant = sum(row.given.significant for row in measured.variants.values())
    return (
        f"ablation: {len(measured.variants)} variants of {ablation.head}, {significant} significantly different from it"
    )


def measure(
    reference: Setting,
    features: Features,
    encoders: Encoders,
    groups: Sequence[str],
    classes: int,
    known: HeadCache,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AblationMetrics:
    """Cross-validate the reference and its variants, and compare them.

    Args:
        reference: the whole system.
        features: of all encoders.
        encoders: which they are.
        groups: of each labelled clip.
        classes: how many there are.
        known: trains, or remembers.
        progress: as in `ablate`.
    """
    params, other = reference.params, None
    if len(encoders.visual) > 1:
        tokens = features.select(encoders.all)
        other = tokens if params.visual == "merged" else tokens.merged(encoders.visual, VISUAL)
    everything = _seen(features, encoders, params)
    others = variants(reference, everything, encoders.mixed, encoders.plain, params.heads, other)
    predicted = _predict([reference, *(one.setting for one in others)], classes, known, progress)
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


def _predict(
    settings: Sequence[Setting], classes: int, known: HeadCache, progress: Callable[[int, int], None]
) -> list[list[IntArray]]:
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
        validated = known.cross_validate(one.head, one.features, one.labels, classes, one.params, tick)
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


def _seen(features: Features, encoders: Encoders, params: TrainParams) -> Features:
    """Merged or not, as params say."""
    return features.merged(encoders.visual, VISUAL) if params.visual == "merged" else features
