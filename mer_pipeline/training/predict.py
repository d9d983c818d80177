"""The stage `predict`: predict all test and pool clips by the selected head, and score where true labels exist.

A prediction is the mean of the probabilities over folds and seeds. The temperature that was fitted out of fold
(`calibration.py`) is applied to it, which changes no label. Besides the modality weights, the table has the importance
of each modality (`importance.py`). Each candidate gets a row: a candidate without any modality gets the training prior
and a flag. The true labels are used only for scores. The stage also writes the submission and the files of two plots.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.csv_files import write_csv
from mer_pipeline.base.modalities import Features, Indices, Matrix
from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.config.project import OUT_OF_FOLD, Project
from mer_pipeline.config.train_params import HeadName
from mer_pipeline.metrics.predict import CandidateScores, PredictMetrics, SelectedScore
from mer_pipeline.scores.bootstrap import units_of
from mer_pipeline.scores.confusion import Confusion, class_f1
from mer_pipeline.scores.evaluation import final, temper_told
from mer_pipeline.scores.importance import leave_one_out
from mer_pipeline.scores.score import grouped_score, score
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import write_table
from mer_pipeline.training.artifacts import (
    FUSED,
    FusionConfig,
    load_config,
    predictions_schema,
)
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.predict_target import predict_target
from mer_pipeline.training.scorer import NO_MODALITY, Scorer, load_known


def predict(project: Project, progress: Progress = quiet) -> str:
    """Run the stage, and return one line that sums up the result.

    Args:
        project: the paths of the tables.
        progress: called after every member, with the number of members that are done and the number of all.

    Raises:
        StageError: a table or a member is missing or does not fit another.
        UsageError: the vectors of a modality have another length than those that the heads were trained on.
    """
    config = load_config(project.fusion)
    if config.predicts.kind != "class":
        return predict_target(config, project, progress)
    manifest = pq.read_table(project.manifest, columns=["clip_id", "group", "split", "label"]).to_pylist()
    clips = sorted((row["clip_id"], row["split"]) for row in manifest if row["split"] != "train")
    ids = [clip_id for clip_id, _ in clips]
    group_of: dict[str, str] = {row["clip_id"]: row["group"] for row in manifest}
    index = {label: c for c, label in enumerate(config.classes)}
    truth = pq.read_table(project.truth).to_pylist()
    true_of = {row["clip_id"]: index[row["label"]] for row in truth}
    known = np.array([i for i, (c, where) in enumerate(clips) if where == "test" and c in true_of], dtype=np.int64)
    true = np.array([true_of[ids[i]] for i in known], dtype=np.int64)

    test: CandidateScores | None = None
    if config.selected is None:
        probabilities = tempered = np.full((len(ids), len(index)), 1 / len(index), dtype=np.float32)
        weights: list[Matrix | None] = [None] * len(ids)
        importance: list[list[float | None] | None] = [None] * len(ids)
        flags: list[str | None] = [f"no head: {config.empty}"] * len(ids)
    else:
        features = load_known(project, config, ids)
        with fixed_threads():
            scorer, selected = Scorer(project.fusion, config, progress, scored=bool(len(known))), config.selected
            chosen = scorer(FUSED, selected, features)
            probabilities = chosen.probabilities.mean(axis=0)
            tempered = temper_told(probabilities, chosen.by_prior, config.temperature)
            weights = [None if prior else row for row, prior in zip(chosen.weights, chosen.by_prior, strict=True)]
            left_out = leave_one_out(lambda seen: scorer(FUSED, selected, seen).probabilities.mean(axis=0), features)
            importance = [
                None if prior else [value if there else None for value, there in zip(row.tolist(), mask, strict=True)]
                for row, mask, prior in zip(left_out, features.mask, chosen.by_prior, strict=True)
            ]
            flags = [NO_MODALITY if prior else None for prior in chosen.by_prior]
            if len(known):
                groups = [group_of[ids[i]] for i in known]
                said = (probabilities[known], tempered[known], chosen.by_prior[known])
                test = _test_scores(
                    scorer, features.take(known), true, groups, final(true, *said, groups, config.classes)
                )
    label = probabilities.argmax(axis=1)  # without the temperature, which could round two probabilities to a tie

    rows: list[Row] = [
        {
            "clip_id": clip_id,
            "split": where,
            "head": config.selected,
            "label": config.classes[int(label[i])],
            "probabilities": tempered[i],
            "weights": weights[i],
            "importance": importance[i],
            "flag": flags[i],
        }
        for i, (clip_id, where) in enumerate(clips)
    ]
    schema = predictions_schema(len(index), pa.field("split", pa.string(), nullable=False))
    more = [pa.field("importance", pa.list_(pa.float32())), pa.field("flag", pa.string())]
    write_table(project.predictions, to_table(rows, pa.schema([*schema, *more])), {"stage": "predict"})
    candidates = [(row["clip_id"], row["label"]) for row in rows if row["split"] == "test"]
    write_csv(project.submission, ("name", "discrete"), candidates)
    metrics = PredictMetrics(
        selected=config.selected,
        test=test,
        candidates=len(candidates),
        pool=len(rows) - len(candidates),
        flagged=sum(flag is not None for flag in flags),
    )
    metrics.write(project.metrics("predict"))
    if test is not None:
        pairs = list(zip(true.tolist(), label[known].tolist(), strict=True))
    else:
        given = {row["clip_id"]: index[row["label"]] for row in manifest if row["split"] == "train"}
        pairs = _out_of_fold(project.fusion, config, given, index)
    _write_plots(project, pairs, config.classes)
    return f"predict: {len(candidates)} candidates and {len(rows) - len(candidates)} of the pool"


def _test_scores(
    scorer: Scorer, features: Features, true: Indices, groups: Sequence[str], selected: SelectedScore
) -> CandidateScores:
    """Score every head, on all modalities and on each alone, with one prediction per seed, the mean over its folds."""
    classes, units = len(scorer.config.classes), units_of(groups)

    def labels(modality: str | None, head: HeadName) -> list[Indices]:
        return list(scorer(modality, head, features).probabilities.argmax(axis=2))

    heads = scorer.config.params.heads
    return CandidateScores(
        heads={head: grouped_score(true, labels(FUSED, head), classes, units) for head in heads},
        single={
            modality: {head: score(true, labels(modality, head), classes) for head in heads}
            for modality in scorer.sets
            if modality is not FUSED
        },
        selected=selected,
    )


def _out_of_fold(
    root: Path, config: FusionConfig, given: dict[str, int], index: dict[str, int]
) -> list[tuple[int, int]]:
    """Return pairs of given label and out-of-fold prediction of the selected head, for data without true labels."""
    rows = pq.read_table(root / OUT_OF_FOLD, columns=["clip_id", "head", "label"]).to_pylist()
    return [(given[row["clip_id"]], index[row["label"]]) for row in rows if row["head"] == config.selected]


def _write_plots(project: Project, pairs: list[tuple[int, int]], classes: Sequence[str]) -> None:
    write_csv(project.plots("confusion"), ("actual", "predicted"), [(classes[a], classes[p]) for a, p in pairs])
    actual, predicted = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    f1 = class_f1(Confusion.of(actual, predicted, len(classes)).counts)
    rows = [(name, round(float(f1[c]), 6)) for c, name in enumerate(classes)] if pairs else []
    write_csv(project.plots("per_class"), ("class", "f1"), rows)
