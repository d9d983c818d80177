"""What the pseudo stage knows before anything is trained: the labelled clips, the pool, and everybody's votes on both.

The pool is every clip without a label that is no candidate of the test; `pseudo.candidates` adds those. The true labels
are not among the tables that are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mer_pipeline.base.errors import ParamsError
from mer_pipeline.base.modalities import Features, Indices
from mer_pipeline.config.project import Project
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.labels.corroboration import as_own, may_bear_out, said_by
from mer_pipeline.labels.judges import with_judges
from mer_pipeline.labels.pseudo import PseudoParams
from mer_pipeline.training.cross_validation import FEWEST_FOLDS, Labels, read_labels
from mer_pipeline.training.task import Task

Words = NDArray[np.str_]


@dataclass(frozen=True)
class PseudoInputs:
    """All that is known before anything is trained; n labelled clips and m of the pool.

    Attributes:
        labels: of the labelled clips.
        features: of these.
        groups: of these, (n,).
        pool_ids: sorted.
        pool: their features.
        pool_groups: (m,).
        votes: of all sources but fusion-head judges, on both.
        said, pool_said: the same as int64 (n,) and (m,) by source.
    """

    labels: Labels
    features: Features
    groups: Words
    pool_ids: tuple[str, ...]
    pool: Features
    pool_groups: Words
    votes: pa.Table
    said: Mapping[str, Indices]
    pool_said: Mapping[str, Indices]


def read_pseudo_inputs(
    params: PseudoParams, task: Task, judges: Mapping[str, JudgeParams], project: Project
) -> PseudoInputs:
    """Read all tables; the truth is not among them.

    Raises:
        ParamsError, StageError: as `with_judges`, `load_features` and `read_labels`.
    """
    classes, labels = task.classes, read_labels(project, task.classes, truth=False, pseudo=False)
    manifest = pq.read_table(project.manifest, columns=["clip_id", "group", "split"]).to_pylist()
    group_of = {row["clip_id"]: row["group"] for row in manifest}
    splits = {"pool", "test"} if params.candidates else {"pool"}
    pool_ids = tuple(sorted(row["clip_id"] for row in manifest if row["split"] in splits))
    both = pa.table({"clip_id": pa.array([*labels.clip_ids, *pool_ids], pa.string())})
    # The head itself votes on labelled clips here, so fusion-head judges are left out: others must agree with it.
    others = {name: judge for name, judge in judges.items() if not judge.is_head}
    votes = as_own(with_judges(pq.read_table(project.given), project.votes, others, both), judges)
    return PseudoInputs(
        labels=labels,
        features=task.load(project, labels.clip_ids),
        groups=np.array([group_of[clip_id] for clip_id in labels.clip_ids], dtype=str),
        pool_ids=pool_ids,
        pool=task.load(project, pool_ids),
        pool_groups=np.array([group_of[clip_id] for clip_id in pool_ids], dtype=str),
        votes=votes,
        said=said_by(votes, labels.clip_ids, classes),
        pool_said=said_by(votes, pool_ids, classes),
    )


def why_nothing(inputs: PseudoInputs) -> str | None:
    """Why nothing can be taken at all, or None where something may."""
    if not inputs.pool_ids:
        return "there are no clips without a label"
    if not inputs.labels.clip_ids:
        return "there are no labelled clips"
    if len(np.unique(inputs.labels.given)) < 2:
        return "all labelled clips have the same label"
    if inputs.labels.folds < FEWEST_FOLDS:
        return f"there are fewer than {FEWEST_FOLDS} folds: without the held-out one and the clip's own none is left"
    return None


def check_families(inputs: PseudoInputs, params: PseudoParams) -> None:
    """Agreement takes somebody who can agree.

    Raises:
        ParamsError: there are too few.
    """
    found, needed = sorted(may_bear_out(inputs.votes, inputs.pool_ids)), params.min_families - 1
    if len(found) < needed:
        there = f"only {', '.join(found)} votes" if found else "no family but the head's own votes"
        raise ParamsError(
            f"pseudo: {there} on the clips without a label, and {needed} must agree with the head; add a judge of "
            "another family (docs/judges.md), or set pseudo.rounds to 0"
        )
