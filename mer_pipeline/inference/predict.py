"""`mer_pipeline.predict(["a.mp4"])`: predict any films and sounds with the trained heads of a project.

    files ─► features (features.py) ─► members of the selected head ─► one row per file

Nothing of the dataset and of the run is touched. The label and the probabilities are made as those of
`data/predictions.parquet`, but without a prior shift (`predict.prior`), which is fitted to a whole set of clips.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from os import PathLike, fsencode, fspath
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from mer_pipeline.base import numerics
from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import ReadOnlyStore, UsageError
from mer_pipeline.base.modalities import Features, load_features
from mer_pipeline.base.runtime import Runtime, load_runtime
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import VISUAL
from mer_pipeline.inference.features import Computed, check_checkpoints, compute_features, params_of_files, steps_for
from mer_pipeline.scores.calibration import temper
from mer_pipeline.scores.importance import hidden, importance
from mer_pipeline.tables.shards import read_folder
from mer_pipeline.training.artifacts import FUSED, FusionConfig, load_config, load_member, member_path
from mer_pipeline.training.cross_validation import seeds_of
from mer_pipeline.training.member import fixed_threads

log = logging.getLogger(__name__)

File: TypeAlias = str | PathLike[str]


class _NothingKept(Runtime):
    """The settings of this machine, but no rows are kept."""

    @property
    def store_url(self) -> str | None:
        """None, whatever $MER_STORE is."""
        return None


def predict(files: File | Iterable[File], *, text: Mapping[File, str] | None = None) -> pl.DataFrame:
    """Predict the emotion in films and sounds by the heads of the project in the current folder.

    Args:
        files: one path or several. Each file is one clip; a file that is given twice is predicted once.
        text: what is said in files for which it is known, by the path as in `files`. In other files the words are those
            that the recogniser of params.yaml hears (`transcript.backend`); without one, they have none.

    Returns:
        A table with a row per file, in their order, and the columns

        - file: the path as it was given,
        - label: the class; null if there is none to give, and then `problem` says why,
        - probabilities: a struct with the probability of each class (float32), with the temperature of the head,
        - rests_on: the modality whose absence would cost the label the most log-probability; null if none would,
        - importance: a struct with that cost of each modality in nats (float32); null for an absent modality,
        - transcript: the words; null if there are none,
        - problem: what is wrong with the file, as a whole or with its picture or its sound alone; null if nothing is.

    Raises:
        UsageError: params.yaml or a file's name is wrong, no head was trained, or the heads read what files alone do
            not have, such as external features.
        StageError: there is no trained run in this folder, or a part of it is missing.

    Example:
        Predict a folder of clips::

            frame = mer_pipeline.predict(Path("clips").glob("*.mp4"))
            frame.select("file", "label", pl.col("probabilities").struct.field("happy"))
    """
    given = [files] if isinstance(files, str | PathLike) else list(files)
    names = list(dict.fromkeys(fspath(file) for file in given))
    words = {fspath(file): said for file, said in (text or {}).items()}
    if unknown := sorted(words.keys() - {*names}):
        raise UsageError(f"the text of '{unknown[0]}' is given, which is none of the files")
    numerics.check()
    params, project = load_params(), Project()
    config = load_config(project.fusion)
    if config.selected is None:
        raise UsageError(f"this project has no trained head to predict with: {config.empty}")
    here, encoders = params_of_files(params), tuple(config.encoders)
    needed = steps_for(encoders, here)
    check_checkpoints(encoders, needed, here)
    runtime = load_runtime()
    with tempfile.TemporaryDirectory(prefix="mer-predict-") as scratch:
        try:
            computed = compute_features(names, words, needed, here, runtime, project, Path(scratch, "1"))
        except ReadOnlyStore:
            none = _NothingKept.model_validate(runtime.model_dump())
            computed = compute_features(names, words, needed, here, none, project, Path(scratch, "2"))
        rows = _rows(computed, config, project)
    if computed.changed:
        log.warning("%s", _about(computed.changed))
    return _frame(names, rows, computed.problems, config)


def _rows(computed: Computed, config: FusionConfig, project: Project) -> dict[str, Row]:
    """Return the label, probabilities, importance and transcript of each file that could be read."""
    if not computed.ids:
        return {}
    assert config.selected is not None
    selected, features = config.selected, _features(computed, config)
    places = [
        member_path(project.fusion, FUSED, selected, seed, fold)
        for seed in seeds_of(selected, config.params)
        for fold in range(config.folds)
    ]
    with fixed_threads():
        members = [load_member(place, config, FUSED, selected) for place in places]
        said = [member.predict(reduce(Features.and_, hidden(features))) for member in members]
    # Of the features as they are, and without each modality: these are predicted together, which is faster.
    each = np.split(np.mean([one.probabilities for one in said], axis=0), 1 + len(features.names))
    by_prior = np.split(np.all([one.by_prior for one in said], axis=0), 1 + len(features.names))[0]
    raw, told, left = each[0], temper(each[0], config.temperature), importance(each)
    transcripts = read_folder(computed.project.table("transcript")).to_pylist()
    words = {row["clip_id"]: row["zh"] or row["en"] for row in transcripts}
    rows: dict[str, Row] = {}
    for i, name in enumerate(computed.ids):
        if by_prior[i]:
            computed.problems.setdefault(name, _nothing(computed.project, tuple(config.encoders), name))
            rows[name] = {"transcript": words[name]}
            continue
        costs = {m: float(left[i, at]) for at, m in enumerate(features.names) if features.mask[i, at]}
        rests_on = max(costs, key=costs.__getitem__)
        rows[name] = {
            "label": config.classes[int(raw[i].argmax())],
            "probabilities": dict(zip(config.classes, told[i].tolist(), strict=True)),
            "rests_on": rests_on if costs[rests_on] > 0 else None,
            "importance": {m: costs.get(m) for m in features.names},
            "transcript": words[name],
        }
    return rows


def _about(changed: Mapping[str, Sequence[str]]) -> str:
    """Return a sentence about what differs from the run that trained the heads.

    Args:
        changed: for each step the parts of its fingerprint that have changed.
    """
    parts: dict[str, list[str]] = {}
    for step, names in changed.items():
        for name in names:
            parts.setdefault(name, []).append(step)
    which = "; ".join(f"{name} of {', '.join(where)}" for name, where in parts.items())
    return (
        f"the heads were trained on features that were made with other params, files or code ({which}), so other "
        "predictions are to be expected; `dvc repro` trains them again"
    )


def _features(computed: Computed, config: FusionConfig) -> Features:
    """Return the features as the heads read them.

    Raises:
        UsageError: the vectors of an encoder have another length than those that the heads were trained on.
    """
    found = load_features(computed.project.features, tuple(config.encoders), computed.ids)
    for (name, trained), dim in zip(config.encoders.items(), found.dims, strict=True):
        if dim != trained:
            raise UsageError(
                f"the encoder '{name}' gives {dim} values a clip and the heads were trained on {trained}; train them "
                "again with `dvc repro`"
            )
    return found.merged(tuple(config.merged), VISUAL)


def _nothing(project: Project, encoders: Sequence[str], name: str) -> list[str]:
    """Return why a file has no modality."""
    tables = [read_folder(project.table(f"features/{one}"), ["clip_id", "reason"]) for one in encoders]
    reasons = [row["reason"] for table in tables for row in table.to_pylist() if row["clip_id"] == name]
    return [f"nothing in it that the heads read ({', '.join(dict.fromkeys(reasons))})"]


def _frame(
    names: Sequence[str], rows: Mapping[str, Row], problems: Mapping[str, Sequence[str]], config: FusionConfig
) -> pl.DataFrame:
    schema = pl.Schema(
        {
            "file": pl.String(),
            "label": pl.String(),
            "probabilities": pl.Struct(dict.fromkeys(config.classes, pl.Float32())),
            "rests_on": pl.String(),
            "importance": pl.Struct(dict.fromkeys(config.modalities, pl.Float32())),
            "transcript": pl.String(),
            "problem": pl.String(),
        }
    )
    told: list[Row] = []
    for name in names:
        shown = fsencode(name).decode(errors="replace")  # a name need not be UTF-8
        problem = "; ".join(problems.get(name, ())) or None
        told.append({**dict.fromkeys(schema), **rows.get(name, {}), "file": shown, "problem": problem})
    return pl.DataFrame(told, schema=schema)
