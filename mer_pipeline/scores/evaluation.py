"""What is said of a trained head beside its scores: by class, how sure it may be, and whose clips it was tried on."""

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
    """Judge a cross-validated head.

    Args:
        probabilities: float32 (n, C), out of fold.
        by_prior: bool (n,), clips with nothing to go by.
        given: int64 (n,).
        fold: int64 (n,).
        classes: C names.
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
    """`temper` where there was something to go by; the prior of the other clips is no head's opinion."""
    return np.where(by_prior[:, None], probabilities, temper(probabilities, temperature))


def final(
    true: Indices,
    probabilities: Matrix,
    tempered: Matrix,
    by_prior: Mask,
    groups: Sequence[str],
    classes: Sequence[str],
) -> SelectedScore:
    """Judge final predictions, float32 (n, C), as they came and tempered."""
    predicted = probabilities.argmax(axis=1)
    confusion = Confusion.of(true, predicted, len(classes))
    return SelectedScore(
        **dict(grouped_score(true, [predicted], len(classes), units_of(groups))),
        per_class=class_table(confusion, classes),
        confusion=count_table(confusion),
        calibration=calibration(probabilities, tempered, true, ~by_prior),
    )


def read_groups(manifest: Path, clip_ids: Sequence[str]) -> list[str]:
    """The group of each clip.

    Raises:
        StageError: the manifest does not list one of them.
    """
    table = pq.read_table(manifest, columns=["clip_id", "group"])
    group_of: dict[str, str] = dict(zip(table["clip_id"].to_pylist(), table["group"].to_pylist(), strict=True))
    for clip_id in clip_ids:
        if clip_id not in group_of:
            raise StageError(f"{manifest} does not list clip '{clip_id}'; run `dvc repro ingest`")
    return [group_of[clip_id] for clip_id in clip_ids]
