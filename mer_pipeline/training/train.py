"""The train stage: every head on all modalities and on each alone, cross-validated; the best one is selected.

Writes data/fusion/ (whole or not at all), metrics/train.json and the plots' CSVs. The head is selected by the
out-of-fold weighted F1 on the *given* labels: refined ones would be easier for the head that learnt their bias, and
the truth is for looking only. Where nothing can be trained there is an empty head with the reason, and no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.clips import Row
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.modalities import Features, load_features
from mer_pipeline.project import CONFIG, OUT_OF_FOLD, Project
from mer_pipeline.scores.bootstrap import GroupedScore, grouped_score, units_of
from mer_pipeline.scores.evaluation import OutOfFold, out_of_fold, read_groups
from mer_pipeline.scores.metrics import Score, score
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import new_folder, write_table
from mer_pipeline.train_params import VISUAL, HeadName, TrainParams
from mer_pipeline.training.artifacts import (
    FUSED,
    FusionConfig,
    member_path,
    predictions_schema,
    save_member,
    write_csv,
    write_json,
)
from mer_pipeline.training.cross_validation import FEWEST_FOLDS, Labels, Validated, members_of, read_labels
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.search import SearchSummary, summary
from mer_pipeline.training.task import Progress, Task, quiet

Results = dict[str | None, dict[HeadName, Validated]]  # by feature set, FUSED first, then by head


class HeadScores(TypedDict):
    """A head's out-of-fold scores against the given labels, and against the truth where there is one."""

    given: Score
    true: Score | None


class FusedScores(TypedDict):
    """Likewise of a head on all modalities, with intervals, and what else is said of it."""

    given: GroupedScore
    true: GroupedScore | None
    out_of_fold: OutOfFold
    search: SearchSummary | None  # None: params as they stand


def train(task: Task, folds_asked: int, project: Project, cache: HeadCache, progress: Progress = quiet) -> str:
    """Run the stage; returns one line that says what came out.

    Args:
        task: what is learnt, from which encoders, and how.
        folds_asked: how many folds were asked for; the table of folds decides how many there are.
        project: where tables lie.
        cache: trains the heads, or remembers them.
        progress: told after every member.

    Raises:
        StageError: a table is missing or does not fit another.
    """
    params, classes, encoders = task.train, task.classes, task.encoders
    labels = read_labels(project, classes)
    # Who dealt the folds knows why there are fewer than asked, or none.
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
    heads = {name: _fused_scores(v, labels, groups, classes) for name, v in results.get(FUSED, {}).items()}
    # The first of equals, so the earlier in params.heads.
    selected = next(iter(sorted(heads, key=lambda name: -heads[name]["given"]["weighted_f1"])), None)
    config = FusionConfig(
        classes=classes,
        modalities=task.modalities,
        dims=() if features is None or empty is not None else features.dims,
        merged=columns,
        folds=labels.folds,
        params=params,
        selected=selected,
        temperature=heads[selected]["out_of_fold"]["temperature"] if selected is not None else 1.0,
        empty=empty,
    )
    single = {
        str(modality): {name: _scores(v, labels, len(classes)) for name, v in validated.items()}
        for modality, validated in results.items()
        if modality is not FUSED
    }
    _write_fusion(project.fusion, config, results, labels)
    summary = {
        "classes": list(classes),
        "modalities": list(config.modalities),
        "merged": list(encoders.merged),
        "mixed": list(encoders.mixed),
        "folds": labels.folds,
        "folds_asked": folds_asked,
        "folds_note": note,
        "labelled": len(labels.clip_ids),
        "seeds": list(params.seeds),
        "selected": config.selected,
        "search_note": _search_note(params, labels),
        "heads": heads,
        "single": single,
        "labels": _label_summary(labels),
        "pseudo": len(labels.pseudo_ids),
        "empty": empty,
    }
    write_json(project.metrics("train"), summary)
    _write_plots(project, results, heads, single)
    if selected is None:
        return f"train: no head: {empty}"
    f1 = heads[selected]["given"]["weighted_f1"]
    return (
        f"train: {len(heads)} heads on {len(labels.clip_ids)} clips; {selected} with weighted F1 {f1:.3f} out of fold"
    )


def why_empty(labels: Labels, note: str = "") -> str | None:
    """Why nothing can be trained, or None; `note` is what the dealer of the folds said."""
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
    per_set = {True: params, False: params.as_they_stand}  # heads on one modality are for the report: no search
    total = sum(members_of(name, labels, per_set[one is FUSED]) for one in sets for name in params.heads)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    results: Results = {}
    for modality in sets:
        chosen = features if modality is FUSED else features.only(modality)
        results[modality] = {
            name: cache.cross_validate(name, chosen, labels, classes, params, tick, search=modality is FUSED)
            for name in params.heads
        }
    return results


def _scores(validated: Validated, labels: Labels, classes: int) -> HeadScores:
    predicted = list(validated.probabilities.argmax(axis=2))
    known = labels.true != MISSING
    true = score(labels.true[known], [one[known] for one in predicted], classes) if known.any() else None
    return {"given": score(labels.given, predicted, classes), "true": true}


def _fused_scores(validated: Validated, labels: Labels, groups: Sequence[str], classes: Sequence[str]) -> FusedScores:
    predicted, known = list(validated.probabilities.argmax(axis=2)), np.flatnonzero(labels.true != MISSING).tolist()
    true = None
    if known:
        units = units_of([groups[i] for i in known])
        true = grouped_score(labels.true[known], [one[known] for one in predicted], len(classes), units)
    mean = validated.probabilities.mean(axis=0)
    given = grouped_score(labels.given, predicted, len(classes), units_of(groups))
    return {
        "given": given,
        "true": true,
        "out_of_fold": out_of_fold(mean, validated.by_prior, labels.given, labels.fold, classes),
        "search": None if validated.studies is None else summary(given["weighted_f1"], validated.studies),
    }


def _search_note(params: TrainParams, labels: Labels) -> str:
    if params.search.trials == 0 or labels.folds >= FEWEST_FOLDS:
        return ""
    return f"{labels.folds} folds leave none to choose settings on without the scored one: params are as they stand"


def _label_summary(labels: Labels) -> dict[str, object]:
    known = labels.true != MISSING
    agreement = None
    if known.any():
        agreement = {
            name: round(float((column[known] == labels.true[known]).mean()), 6)
            for name, column in (("given", labels.given), ("refined", labels.final))
        }
    return {"changed": int((labels.given != labels.final).sum()), "agreement_with_true": agreement}


def _write_fusion(out: Path, config: FusionConfig, results: Results, labels: Labels) -> None:
    schema = predictions_schema(len(config.classes), pa.field("fold", pa.int32(), nullable=False))
    rows: list[Row] = []
    for name, validated in results.get(FUSED, {}).items():
        probabilities, weights = validated.probabilities.mean(axis=0), validated.weights.mean(axis=0)
        rows += [
            {
                "clip_id": clip_id,
                "fold": int(labels.fold[i]),
                "head": name,
                "label": config.classes[int(probabilities[i].argmax())],
                "probabilities": probabilities[i],
                "weights": None if validated.by_prior[i] else weights[i],
            }
            for i, clip_id in enumerate(labels.clip_ids)
        ]
    rows.sort(key=lambda row: (str(row["head"]), str(row["clip_id"])))
    with new_folder(out) as folder:
        (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
        write_table(folder / OUT_OF_FOLD, to_table(rows, schema), {"stage": "train"})
        for modality, heads in results.items():
            names = config.modalities if modality is FUSED else (modality,)
            for name, validated in heads.items():
                for one in validated.members:
                    save_member(member_path(folder, modality, name, one.seed, one.fold), one.member, names)


def _write_plots(
    project: Project,
    results: Results,
    heads: Mapping[HeadName, FusedScores],
    single: Mapping[str, Mapping[HeadName, HeadScores]],
) -> None:
    table: dict[str, Mapping[HeadName, FusedScores | HeadScores]] = {"all": heads, **single}
    write_csv(
        project.plots("heads"),
        ("head", "features", "weighted_f1"),
        [(name, set_, of["given"]["weighted_f1"]) for set_, scores in table.items() for name, of in scores.items()],
    )
    write_csv(
        project.plots("history"),
        ("head", "seed", "fold", "epoch", "train_loss", "validation_f1"),
        [
            (name, one.seed, one.fold, at.epoch, round(at.train_loss, 6), _blank(at.validation_f1))
            for name, validated in results.get(FUSED, {}).items()
            for one in validated.members
            for at in one.history
        ],
    )


def _blank(value: float | None) -> float | str:
    return "" if value is None else round(value, 6)
