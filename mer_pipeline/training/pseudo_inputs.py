"""Read the inputs of the stage `pseudo`: the labelled clips, the pool, and the votes on both.

With `pseudo.candidates` the candidates count as clips of the pool here. The true labels are not read.
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
    """The inputs of the stage for n labelled clips and m clips of the pool.

    Attributes:
        labels: the labels of the labelled clips.
        features: the features of the labelled clips.
        groups: (n,), the group of each labelled clip.
        pool_ids: the ids of the clips of the pool, sorted.
        pool: the features of the clips of the pool.
        pool_groups: (m,), the group of each clip of the pool.
        votes: the votes of all sources except fusion-head judges, on both kinds of clips.
        said: the votes on the labelled clips, int64 (n,) by source.
        pool_said: the votes on the clips of the pool, int64 (m,) by source.
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
    """Read all tables except that of the true labels.

    Raises:
        ParamsError: a judge has the name of a source of the dataset's votes.
        StageError: votes, features or labels are missing or do not fit each other.
    """
    classes, labels = task.classes, read_labels(project, task.classes, truth=False, pseudo=False)
    manifest = pq.read_table(project.manifest, columns=["clip_id", "group", "split"]).to_pylist()
    group_of = {row["clip_id"]: row["group"] for row in manifest}
    splits = {"pool", "test"} if params.candidates else {"pool"}
    pool_ids = tuple(sorted(row["clip_id"] for row in manifest if row["split"] in splits))
    both = pa.table({"clip_id": pa.array([*labels.clip_ids, *pool_ids], pa.string())})
    # Fusion-head judges are left out: the head of this stage takes their place, and others must agree with it.
    others = {name: judge for name, judge in judges.items() if not judge.is_head}
    votes = as_own(with_judges(pq.read_table(project.given), project.votes, others, both, classes), judges)
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
    """Return the reason that no clip can be taken at all, or None if clips can be taken."""
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
    """Check that enough families vote on the clips of the pool to support the head.

    Raises:
        ParamsError: there are fewer than `min_families` - 1.
    """
    found, needed = sorted(may_bear_out(inputs.votes, inputs.pool_ids)), params.min_families - 1
    if len(found) < needed:
        there = f"only {', '.join(found)} votes" if found else "no family but the head's own votes"
        raise ParamsError(
            f"pseudo: {there} on the clips without a label, and {needed} must agree with the head; add a judge of "
            "another family (docs/judges.md), or set pseudo.rounds to 0"
        )
