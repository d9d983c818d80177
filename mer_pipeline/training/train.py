"""The stage `train`: cross-validate every head on all modalities and on each one alone, and select the best head.

It writes data/fusion/ (complete or not at all), metrics/train.json and the CSV files of the plots (summary.py). If
nothing can be trained, that is no error: data/fusion/ then has no head, and config.json says why.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.kind import outputs_column
from mer_pipeline.base.modalities import Features, load_features
from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.config.project import CONFIG, OUT_OF_FOLD, Project
from mer_pipeline.config.train_params import VISUAL, TrainParams
from mer_pipeline.heads.make import check_heads, check_kind, head_of
from mer_pipeline.heads.objective import FIGURES
from mer_pipeline.metrics.train import TrainMetrics
from mer_pipeline.scores.baselines import best_blind
from mer_pipeline.scores.evaluation import read_groups
from mer_pipeline.scores.warnings import about_copies, about_labels, about_score, with_warnings
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import new_folder, write_table
from mer_pipeline.training.artifacts import (
    FUSED,
    FusionConfig,
    member_path,
    predictions_schema,
    save_member,
)
from mer_pipeline.training.cross_validation import members_of
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.labels import Labels, read_labels, read_target
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.summary import (
    Results,
    blind_scores,
    fused_scores,
    label_counts,
    search_note,
    select,
    single_scores,
    write_plots,
)
from mer_pipeline.training.target_scores import (
    constant_of,
    out_of_fold_labels,
    select_by_figure,
    target_scores,
    thresholds_of,
)
from mer_pipeline.training.task import Task
from mer_pipeline.training.validated import combine


def train(task: Task, folds_asked: int, project: Project, cache: HeadCache, progress: Progress = quiet) -> str:
    """Run the stage, and return one line that sums up the result.

    Args:
        task: the classes, encoders and settings of training.
        folds_asked: the number of folds in params.yaml, for the metric file. The table of folds has the actual number.
        project: the paths of the tables.
        cache: the head cache, which trains heads or finds them in the store.
        progress: called after every member.

    Raises:
        ParamsError: a head is unknown, or one of its options is unknown or wrong.
        ComponentError: a head that is not built in can't be imported or is not a valid head.
        StageError: a table is missing or does not fit another.
    """
    check_heads(task.train, {}, None)
    target = read_target(project, task.classes)
    params, classes, encoders = task.train, target.names, task.encoders
    check_kind(params, target.kind)
    labels = read_labels(project, classes)
    # The code that made the folds has noted in the table why there are fewer than asked for, or none.
    note = (pq.read_schema(project.folds).metadata or {}).get(b"mer.note", b"").decode()
    empty = why_empty(labels, note)
    features, columns = None, dict[str, int]()
    if empty is None:
        features = load_features(project.features, encoders.all, labels.all_ids)
        columns = {n: dim for n, dim in zip(features.names, features.dims, strict=True) if n in encoders.merged}
        features = features.merged(encoders.merged, VISUAL)
        empty = None if features.mask[: len(labels.fold)].any() else "no labelled clip has any modality"
    results: Results = {}
    if features is not None and empty is None:
        with fixed_threads():
            results = _train_all(features, labels, len(classes), params, cache, progress)
    groups = read_groups(project.manifest, labels.clip_ids)
    of_classes = target.kind == "class"
    heads = fused_scores(results, labels, groups, classes) if of_classes else {}
    judged = None if of_classes else target_scores(results, labels, groups)
    selected = select(heads) if judged is None else select_by_figure(judged)
    blind = blind_scores(labels, classes) if heads else None
    warnings = about_labels(labels.given, groups, classes) if of_classes else []
    if features is not None and selected is not None:
        own = features.take(np.arange(len(labels.fold)))
        warnings += about_copies(own, labels.fold, labels.clip_ids, "in another fold")
        if blind is not None:
            warnings += about_score(heads[selected].given, blind.given, f"{selected}, cross-validated")
    config = FusionConfig(
        classes=classes,
        modalities=task.modalities,
        dims=() if features is None or empty is not None else features.dims,
        merged=columns,
        folds=labels.folds,
        params=params,
        selected=selected,
        temperature=heads[selected].out_of_fold.temperature if selected in heads else 1.0,
        empty=empty,
        target=target.footer(),
        thresholds=None if selected is None else thresholds_of(results[FUSED][selected], labels),
        constant=constant_of(labels),
    )
    _write_fusion(project.fusion, config, results, labels)
    metrics = TrainMetrics(
        classes=classes,
        modalities=config.modalities,
        merged=encoders.merged,
        mixed=encoders.mixed,
        folds=labels.folds,
        folds_asked=folds_asked,
        folds_note=note,
        labelled=len(labels.clip_ids),
        seeds=params.seeds,
        selected=selected,
        search_note=search_note(params, labels),
        heads=dict(heads.items()),
        single=single_scores(results, labels) if judged is None else {},
        labels=label_counts(labels, len(classes)),
        pseudo=len(labels.pseudo_ids),
        baselines=blind,
        warnings=tuple(warnings),
        empty=empty,
        **({} if judged is None else {"target": judged}),
    )
    metrics.write(project.metrics("train"))
    write_plots(project, results, metrics)
    if selected is None:
        return f"train: no head: {empty}"
    if judged is not None:
        value, constant = (of.given.figures[judged.main] for of in (judged.heads[selected], judged.constant))
    else:
        assert blind is not None
        value, constant = heads[selected].given.weighted_f1, best_blind(blind.given)
    line = (
        f"train: {len(params.heads)} heads on {len(labels.clip_ids)} clips; {selected} with {FIGURES[target.kind]} "
        f"{value:.3f} out of fold, {constant:.3f} without looking at a clip"
    )
    return with_warnings(line, warnings)


def why_empty(labels: Labels, note: str = "") -> str | None:
    """Return the reason that nothing can be trained, or None if heads can be trained.

    Args:
        labels: the labels.
        note: the note in the table of folds on why there are fewer folds than asked for, or "".
    """
    if not labels.clip_ids:
        return "there are no labelled clips"
    if len(np.unique(labels.given)) < 2:
        return "all labelled clips have the same label"
    if labels.folds < 2:
        return note or "all labelled clips are in one fold, so nothing can be cross-validated"
    return None


def _train_all(
    features: Features,
    labels: Labels,
    classes: int,
    params: TrainParams,
    cache: HeadCache,
    progress: Progress,
) -> Results:
    sets = [FUSED, *(features.names if params.single_modality else ())]
    per_set = {True: params, False: params.as_they_stand}  # no search on single modalities, which only the report uses
    specs = [head_of(name, params) for name in params.heads]
    trained = list(dict.fromkeys(part.name for spec in specs for part in spec.trained))
    total = sum(members_of(name, labels, per_set[one is FUSED]) for one in sets for name in trained)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    results: Results = {}
    for modality in sets:
        chosen = features if modality is FUSED else features.only(modality)
        known = {
            name: cache.cross_validate(name, chosen, labels, classes, params, tick, search=modality is FUSED)
            for name in trained
        }
        results[modality] = {
            spec.name: known[spec.name] if spec.late is None else combine(known[spec.alone.name], known[spec.late.name])
            for spec in specs
        }
    return results


def _write_fusion(out: Path, config: FusionConfig, results: Results, labels: Labels) -> None:
    target, fold = config.predicts, pa.field("fold", pa.int32(), nullable=False)
    schema = predictions_schema(len(config.classes), fold, kind=target.kind)
    rows: list[Row] = []
    for name, validated in results.get(FUSED, {}).items():
        probabilities, weights = validated.probabilities.mean(axis=0), validated.weights.mean(axis=0)
        texts = out_of_fold_labels(target, probabilities, labels)
        rows += [
            {
                "clip_id": clip_id,
                "fold": int(labels.fold[i]),
                "head": name,
                "label": texts[i],
                outputs_column(target.kind): probabilities[i],
                "weights": None if validated.by_prior[i] else weights[i],
            }
            for i, clip_id in enumerate(labels.clip_ids)
        ]
    rows.sort(key=lambda row: (str(row["head"]), str(row["clip_id"])))
    with new_folder(out) as folder:
        (folder / CONFIG).write_text(config.text(), encoding="utf-8")
        write_table(folder / OUT_OF_FOLD, to_table(rows, schema), {"stage": "train"})
        for modality, heads in results.items():
            names = config.modalities if modality is FUSED else (modality,)
            for name, validated in heads.items():
                for one in validated.members:
                    save_member(member_path(folder, modality, name, one.seed, one.fold), one.member, names)
