"""The stage `predict` where sets of classes or numbers are predicted; for classes, predict.py does it.

A prediction is the mean of the outputs over folds and seeds: probabilities, or numbers. There is no temperature and no
prior shift. A set is decided by the thresholds in config.json, which were chosen on the labelled clips out of fold. The
submission has the form of a CSV of true labels, so that the same code reads both. The plots of DVC are those of classes
and stay empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.csv_files import write_csv
from mer_pipeline.base.kind import outputs_column
from mer_pipeline.base.modalities import Features, Mask, Matrix
from mer_pipeline.base.runs import Progress
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import HeadName
from mer_pipeline.metrics.predict import PredictMetrics
from mer_pipeline.metrics.target import MAIN, TargetScore, TargetTest
from mer_pipeline.scores.bootstrap import Units, units_of
from mer_pipeline.scores.importance import moves_left_out
from mer_pipeline.scores.target import judge
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import write_table
from mer_pipeline.training.artifacts import FUSED, FusionConfig, predictions_schema
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.scorer import NO_MODALITY, Scorer, load_known


def predict_target(config: FusionConfig, project: Project, progress: Progress) -> str:
    """Run the stage, and return one line that sums up the result; the arguments and errors are those of `predict`."""
    target, selected = config.predicts, config.selected
    manifest = pq.read_table(project.manifest, columns=["clip_id", "group", "split"]).to_pylist()
    clips = sorted((row["clip_id"], row["split"], row["group"]) for row in manifest if row["split"] != "train")
    truth = pq.read_table(project.truth)
    true_of = dict(zip(truth["clip_id"].to_pylist(), truth["label"].to_pylist(), strict=True))
    known = [i for i, (clip_id, split, _) in enumerate(clips) if split == "test" and clip_id in true_of]

    outputs, test = np.tile(target.unknown(), (len(clips), 1)), None
    told: list[Row] = [{"weights": None, "importance": None, "flag": f"no head: {config.empty}"} for _ in clips]
    if selected is not None:
        ids = [clip_id for clip_id, *_ in clips]
        features = load_known(project, config, ids)
        with fixed_threads():
            scorer = Scorer(project.fusion, config, progress, scored=bool(known))
            chosen = scorer(FUSED, selected, features)
            outputs = chosen.probabilities.mean(axis=0)
            moves = moves_left_out(lambda seen: scorer(FUSED, selected, seen).probabilities.mean(axis=0), features)
            told = [
                _about(own, move, there, by_prior=bool(prior))
                for own, move, there, prior in zip(chosen.weights, moves, features.mask, chosen.by_prior, strict=True)
            ]
            if known:
                true = np.stack([target.vector(true_of[ids[i]]) for i in known])
                groups = [clips[i][2] for i in known]
                test = _scores(scorer, features.take(np.array(known)), true, groups, outputs[known])

    rows: list[Row] = [
        {
            "clip_id": clip_id,
            "split": split,
            "head": selected,
            "label": target.label(outputs[i], config.thresholds),
            outputs_column(target.kind): outputs[i],
            **told[i],
        }
        for i, (clip_id, split, _) in enumerate(clips)
    ]
    split_field = pa.field("split", pa.string(), nullable=False)
    schema = predictions_schema(len(target.names), split_field, kind=target.kind)
    more = [pa.field("importance", pa.list_(pa.float32())), pa.field("flag", pa.string())]
    write_table(project.predictions, to_table(rows, pa.schema([*schema, *more])), {"stage": "predict"})
    candidates = [(row["clip_id"], *target.cells(str(row["label"]))) for row in rows if row["split"] == "test"]
    write_csv(project.submission, ("name", *target.columns("discrete")), candidates)
    write_csv(project.plots("confusion"), ("actual", "predicted"), [])
    write_csv(project.plots("per_class"), ("class", "f1"), [])
    metrics = PredictMetrics(
        selected=selected,
        test=None,
        candidates=len(candidates),
        pool=len(rows) - len(candidates),
        flagged=sum(row["flag"] is not None for row in rows),
        priors={},
        warnings=(),
    )
    if test is not None:
        metrics = metrics.model_copy(update={"target": test})
    metrics.write(project.metrics("predict"))
    return f"predict: {len(candidates)} candidates and {len(rows) - len(candidates)} of the pool"


def _about(weights: Matrix, moves: Matrix, there: Mask, *, by_prior: bool) -> Row:
    """Return the modality weights, the importance and the flag of one clip."""
    if by_prior:
        return {"weights": None, "importance": None, "flag": NO_MODALITY}
    importance = [float(move) if has else None for move, has in zip(moves, there, strict=True)]
    return {"weights": weights, "importance": importance, "flag": None}


def _scores(scorer: Scorer, features: Features, true: Matrix, groups: Sequence[str], final: Matrix) -> TargetTest:
    """Score every head, on all modalities and on each alone, with one prediction per seed, the mean over its folds.

    Args:
        scorer: loads the heads.
        features: the features of the n clips whose true label is known.
        true: float32 (n, C), their true labels as numbers.
        groups: the group of each clip.
        final: float32 (n, C), the selected head's predictions, which are the mean over the seeds.
    """
    config, units = scorer.config, units_of(groups)
    target = config.predicts

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
