"""Evaluate a trained head: scores per class, the confusion matrix, calibration, and intervals over groups."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mer_pipeline.base.errors import StageError
from mer_pipeline.base.modalities import Indices, Mask, Matrix
from mer_pipeline.metrics.predict import SelectedScore
from mer_pipeline.metrics.train import OutOfFold
from mer_pipeline.scores.bootstrap import units_of
from mer_pipeline.scores.calibration import calibration, fit_temperature, temper, temper_out_of_fold
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.scores.score import class_table, count_table, grouped_score


def out_of_fold(
    probabilities: Matrix, by_prior: Mask, given: Indices, fold: Indices, classes: Sequence[str]
) -> OutOfFold:
    """Evaluate the out-of-fold probabilities of a head against the given labels.

    Args:
        probabilities: float32 (n, C), out of fold, the mean over the seeds.
        by_prior: bool (n,), true where a clip got the training prior.
        given: int64 (n,), the given labels.
        fold: int64 (n,), the fold of each clip.
        classes: the C classes, in order.
    """
    confusion = Confusion.of(given, probabilities.argmax(axis=1), len(classes))
    told = ~by_prior
    tempered = probabilities.copy()
    tempered[told] = temper_out_of_fold(probabilities[told], given[told], fold[told])
    return OutOfFold(
        per_class=class_table(confusion, classes),
        confusion=count_table(confusion),
        temperature=fit_temperature(probabilities[told], given[told]),
        calibration=calibration(probabilities, tempered, given, told),
    )


def temper_told(probabilities: Matrix, by_prior: Mask, temperature: float) -> Matrix:
    """Apply the temperature, except to clips that got the training prior, which is no prediction of the head.

    Args:
        probabilities: float32 (n, C).
        by_prior: bool (n,), true where a clip got the training prior.
        temperature: the temperature.
    """
    return np.where(by_prior[:, None], probabilities, temper(probabilities, temperature))


def final_score(
    true: Indices,
    deciding: Matrix,
    raw: Matrix,
    written: Matrix,
    by_prior: Mask,
    groups: Sequence[str],
    classes: Sequence[str],
) -> SelectedScore:
    """Evaluate final predictions against the true labels.

    Args:
        true: int64 (n,), the true class indices.
        deciding: float32 (n, C), the probabilities whose maximum is the label, which the scores are of.
        raw: float32 (n, C), without the temperature.
        written: float32 (n, C), with the temperature, and with the prior shift if there is one.
        by_prior: bool (n,), true where a clip got the training prior.
        groups: the group of each clip.
        classes: the C classes, in order.
    """
    confusion = Confusion.of(true, deciding.argmax(axis=1), len(classes))
    return SelectedScore(
        **dict(grouped_score(true, [deciding], units_of(groups))),
        per_class=class_table(confusion, classes),
        confusion=count_table(confusion),
        calibration=calibration(raw, written, true, ~by_prior),
    )


def read_groups(manifest: Path, clip_ids: Sequence[str]) -> list[str]:
    """Read the group of each clip from the manifest.

    Raises:
        StageError: the manifest does not list one of the clips.
    """
    table = pq.read_table(manifest, columns=["clip_id", "group"])
    group_of: dict[str, str] = dict(zip(table["clip_id"].to_pylist(), table["group"].to_pylist(), strict=True))
    for clip_id in clip_ids:
        if clip_id not in group_of:
            raise StageError(f"{manifest} does not list clip '{clip_id}'; run `dvc repro ingest`")
    return [group_of[clip_id] for clip_id in clip_ids]
