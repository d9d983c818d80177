"""The stage `predict`: predict all test and pool clips by the selected head, and score where true labels exist.

A prediction is the mean of the probabilities over folds and seeds. The temperature that was fitted out of fold
(`calibration.py`) is applied to it, which changes no label. Besides the modality weights, the table has the importance
of each modality (`importance.py`). Each candidate gets a row: a candidate without any modality gets the training prior
and a flag. The true labels are used only for scores. The stage also writes the submission and the files of two plots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.csv_files import write_csv
from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.modalities import Features, Indices, Mask, Matrix, load_features
from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.config.project import OUT_OF_FOLD, Project
from mer_pipeline.config.train_params import VISUAL, HeadName
from mer_pipeline.metrics.predict import CandidateScores, PredictMetrics, SelectedScore
from mer_pipeline.metrics.target import MAIN, TargetScore, TargetTest
from mer_pipeline.scores.bootstrap import Units, units_of
from mer_pipeline.scores.confusion import Confusion, class_f1
from mer_pipeline.scores.evaluation import final, temper_told
from mer_pipeline.scores.importance import leave_one_out, moves_left_out
from mer_pipeline.scores.score import grouped_score, score
from mer_pipeline.scores.target import judge
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import write_table
from mer_pipeline.training.artifacts import (
    FUSED,
    FusionConfig,
    load_config,
    load_member,
    member_path,
    outputs_column,
    predictions_schema,
)
from mer_pipeline.training.cross_validation import seeds_of
from mer_pipeline.training.member import fixed_threads

NO_MODALITY = "no modality: training prior"


@dataclass(frozen=True)
class Ensemble:
    """The predictions of all members of one head for n clips.

    Attributes:
        probabilities: float32 (S, n, C), for each seed the mean over the folds; where numbers are predicted, these.
        weights: float32 (n, M), the mean modality weights over seeds and folds.
        by_prior: bool (n,), true where every member gave the training prior.
    """

    probabilities: Matrix
    weights: Matrix
    by_prior: Mask


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
    manifest = pq.read_table(project.manifest, columns=["clip_id", "group", "split", "label"]).to_pylist()
    clips = sorted((row["clip_id"], row["split"]) for row in manifest if row["split"] != "train")
    ids = [clip_id for clip_id, _ in clips]
    group_of: dict[str, str] = {row["clip_id"]: row["group"] for row in manifest}
    index = {label: c for c, label in enumerate(config.classes)}
    truth = pq.read_table(project.truth).to_pylist()
    target = config.predicts
    true_of: dict[str, str] = {row["clip_id"]: row["label"] for row in truth}
    known = np.array([i for i, (c, where) in enumerate(clips) if where == "test" and c in true_of], dtype=np.int64)
    labels = [true_of[ids[i]] for i in known]

    test: CandidateScores | None = None
    judged: TargetTest | None = None
    if config.selected is None:
        probabilities = tempered = np.tile(target.unknown(), (len(ids), 1))
        weights: list[Matrix | None] = [None] * len(ids)
        importance: list[list[float | None] | None] = [None] * len(ids)
        flags: list[str | None] = [f"no head: {config.empty}"] * len(ids)
    else:
        features = load_features(project.features, tuple(config.encoders), ids)
        _check_dims(features, config, project.features)
        features = features.merged(tuple(config.merged), VISUAL)
        with fixed_threads():
            scorer, selected = _Scorer(project.fusion, config, progress, scored=bool(len(known))), config.selected
            chosen = scorer(FUSED, selected, features)
            probabilities = chosen.probabilities.mean(axis=0)
            tempered = temper_told(probabilities, chosen.by_prior, config.temperature)
            weights = [None if prior else row for row, prior in zip(chosen.weights, chosen.by_prior, strict=True)]
            measure = leave_one_out if target.kind == "class" else moves_left_out
            left_out = measure(lambda seen: scorer(FUSED, selected, seen).probabilities.mean(axis=0), features)
            importance = [
                None if prior else [value if there else None for value, there in zip(row.tolist(), mask, strict=True)]
                for row, mask, prior in zip(left_out, features.mask, chosen.by_prior, strict=True)
            ]
            flags = [NO_MODALITY if prior else None for prior in chosen.by_prior]
            groups = [group_of[ids[i]] for i in known]
            if len(known) and target.kind != "class":
                judged = _target_scores(scorer, features.take(known), labels, groups, probabilities[known])
            elif len(known):
                true = np.array([index[label] for label in labels], dtype=np.int64)
                said = (probabilities[known], tempered[known], chosen.by_prior[known])
                test = _test_scores(
                    scorer, features.take(known), true, groups, final(true, *said, groups, config.classes)
                )
    # Without the temperature, which could round two probabilities to a tie.
    predicted = [target.label(row, config.thresholds) for row in probabilities]

    rows: list[Row] = [
        {
            "clip_id": clip_id,
            "split": where,
            "head": config.selected,
            "label": predicted[i],
            outputs_column(target.kind): tempered[i],
            "weights": weights[i],
            "importance": importance[i],
            "flag": flags[i],
        }
        for i, (clip_id, where) in enumerate(clips)
    ]
    schema = predictions_schema(len(index), pa.field("split", pa.string(), nullable=False), kind=target.kind)
    more = [pa.field("importance", pa.list_(pa.float32())), pa.field("flag", pa.string())]
    write_table(project.predictions, to_table(rows, pa.schema([*schema, *more])), {"stage": "predict"})
    candidates = [(row["clip_id"], *target.cells(str(row["label"]))) for row in rows if row["split"] == "test"]
    write_csv(project.submission, ("name", *target.columns("discrete")), candidates)
    metrics = PredictMetrics(
        selected=config.selected,
        test=test,
        candidates=len(candidates),
        pool=len(rows) - len(candidates),
        flagged=sum(flag is not None for flag in flags),
        **({} if judged is None else {"target": judged}),
    )
    metrics.write(project.metrics("predict"))
    pairs: list[tuple[int, int]] = []  # a confusion matrix, and the plots of it, are for classes
    if test is not None:
        pairs = [(index[label], index[predicted[i]]) for label, i in zip(labels, known, strict=True)]
    elif target.kind == "class":
        given = {row["clip_id"]: index[row["label"]] for row in manifest if row["split"] == "train"}
        pairs = _out_of_fold(project.fusion, config, given, index)
    _write_plots(project, pairs, config.classes)
    return f"predict: {len(candidates)} candidates and {len(rows) - len(candidates)} of the pool"


def _check_dims(features: Features, config: FusionConfig, root: Path) -> None:
    for (name, trained), found in zip(config.encoders.items(), features.dims, strict=True):
        if found != trained:
            raise UsageError(
                f"{root / name} has {found} values a clip and the heads were trained on {trained}; "
                "train them again with `dvc repro`"
            )


class _Scorer:
    """Load members, average their predictions, and report progress."""

    def __init__(self, root: Path, config: FusionConfig, progress: Progress, *, scored: bool) -> None:
        self.root, self.config, self.progress, self.done = root, config, progress, 0
        assert config.selected is not None
        self.sets = [FUSED, *(config.modalities if config.params.single_modality else ())]
        left_out = [config.selected] * (1 + len(config.modalities))  # with all modalities, and without each one
        heads = [config.selected, *left_out, *(list(config.params.heads) * len(self.sets) if scored else ())]
        self.total = config.folds * sum(len(seeds_of(name, config.params)) for name in heads)

    def __call__(self, modality: str | None, head: HeadName, features: Features) -> Ensemble:
        chosen = features if modality is FUSED else features.only(modality)
        seeds, folds = seeds_of(head, self.config.params), self.config.folds
        probabilities = np.zeros((len(seeds), len(chosen), len(self.config.classes)), dtype=np.float32)
        weights = np.zeros(chosen.mask.shape, dtype=np.float32)
        by_prior = np.ones(len(chosen), dtype=bool)
        for s, seed in enumerate(seeds):
            for fold in range(folds):
                member = load_member(member_path(self.root, modality, head, seed, fold), self.config, modality, head)
                said = member.predict(chosen)
                probabilities[s] += said.probabilities / folds
                weights += said.weights / (folds * len(seeds))
                by_prior &= said.by_prior
                self.done += 1
                self.progress(self.done, self.total)
        return Ensemble(self.config.predicts.bounded(probabilities), weights, by_prior)


def _test_scores(
    scorer: _Scorer, features: Features, true: Indices, groups: Sequence[str], selected: SelectedScore
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


def _target_scores(
    scorer: _Scorer, features: Features, labels: Sequence[str], groups: Sequence[str], final: Matrix
) -> TargetTest:
    """Do the same for sets of classes and for numbers; `final` has the selected head's predictions, float32 (n, C)."""
    config, units = scorer.config, units_of(groups)
    target = config.predicts
    true = np.stack([target.vector(label) for label in labels])

    def scored(modality: str | None, head: HeadName, units: Units | None) -> TargetScore:
        return judge(target, true, list(scorer(modality, head, features).probabilities), units=units)

    decided = None if config.thresholds is None else [final >= np.array(config.thresholds)]
    constant = np.tile(np.array(config.constant, dtype=np.float32), (len(true), 1))
    kind: Literal["multilabel", "regression"] = "multilabel" if target.kind == "multilabel" else "regression"
    return TargetTest(
        kind=kind,
        main=MAIN[kind],
        constant=judge(target, true, [constant]),
        heads={head: scored(FUSED, head, units) for head in config.params.heads},
        single={
            modality: {head: scored(modality, head, None) for head in config.params.heads}
            for modality in scorer.sets
            if modality is not FUSED
        },
        selected=judge(target, true, [final], decided, units),
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
