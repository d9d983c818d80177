"""`data/labels.parquet`: every label with its evidence, refined once for good and once without each fold.

    held_out_fold = -1   all votes: what a person reads
    held_out_fold =  f   without any vote on fold f's clips: what the head that is scored on fold f trains on

Otherwise a scored clip's own votes would shape the sources' confusions, and through them its head's labels. For the
same reason a judge that learnt from given labels has other votes for each held-out fold (`judges.py`).

`suspect` is what confident learning takes a clip to be if not what it is labelled, by the fusion head's out-of-fold
probabilities; it changes nothing, and says where a person should look first.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.config.project import Project
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.labels.confident import suspects
from mer_pipeline.labels.judges import FINAL, OPINIONS, opinions, serving, with_judges
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.labels.refinement import refine
from mer_pipeline.labels.summary import agree
from mer_pipeline.labels.votes import MISSING, Votes, read_votes
from mer_pipeline.metrics.labels import LabelMetrics
from mer_pipeline.tables.shards import write_table


def label_schema(classes: int) -> pa.Schema:
    """The schema of data/labels.parquet for so many classes."""
    return pa.schema(
        [
            pa.field("clip_id", pa.string(), nullable=False),
            pa.field("held_out_fold", pa.int32(), nullable=False),
            pa.field("given", pa.string(), nullable=False),
            pa.field("label", pa.string(), nullable=False),
            pa.field("posterior", pa.list_(pa.float32(), classes), nullable=False),
            pa.field("changed", pa.bool_(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("votes", pa.string(), nullable=False),
            pa.field("suspect", pa.string()),
        ]
    )


def write_labels(
    params: LabelParams, judges: Mapping[str, JudgeParams], classes: tuple[str, ...], project: Project
) -> LabelMetrics:
    """The labels stage: read votes and folds, write the labels and how far their sources agree.

    Raises:
        DatasetError: a vote is not what `read_votes` takes.
        ParamsError, StageError: a judge's votes are not what `with_judges` takes.
    """
    given, folds = pq.read_table(project.given), pq.read_table(project.folds)
    votes = with_judges(given, project.votes, judges, folds)
    labels = label_table(votes, folds, classes, params, opinions(project.votes, judges, folds))
    metrics = agree(votes, labels, classes, params, judges)
    write_table(project.labels, labels, {"stage": "labels", "params": params.model_dump_json()})
    metrics.write(project.metrics("labels"))
    return metrics


def label_table(
    votes: pa.Table, folds: pa.Table, classes: tuple[str, ...], params: LabelParams, said: pa.Table | None = None
) -> pa.Table:
    """The rows of data/labels.parquet, sorted by held_out_fold and clip.

    Args:
        votes: VOTES_SCHEMA, and HELD_OUT where a vote does not serve every fold.
        folds: clip_id, fold (int32): the labelled training clips.
        classes: in order.
        params: how.
        said: what `opinions` gives, for the column `suspect`; null throughout without.

    Raises:
        DatasetError: a vote is not what `read_votes` takes.
    """
    fold_of = dict(zip(folds["clip_id"].to_pylist(), folds["fold"].to_pylist(), strict=True))
    schema = label_schema(len(classes))
    parts = []
    for f in [FINAL, *sorted(set(fold_of.values()))]:
        seen = [clip_id for clip_id, fold in fold_of.items() if fold != f]
        here = read_votes(serving(votes, f), seen, classes)
        flags = _suspects(here, None if said is None else serving(said, f), classes)
        parts.append(_table(f, here, flags, classes, params, schema))
    return pa.concat_tables(parts).combine_chunks()


def _suspects(votes: Votes, said: pa.Table | None, classes: tuple[str, ...]) -> list[str | None]:
    """The class that each clip is suspected to be, None where it is not, or where the head has no opinion of it."""
    if said is None:
        return [None] * len(votes.clip_ids)
    at = {clip_id: i for i, clip_id in enumerate(votes.clip_ids)}
    known = [(at[clip_id], scores) for clip_id, scores in zip(*(said[n].to_pylist() for n in OPINIONS), strict=True)]
    flags: list[str | None] = [None] * len(at)
    if known:
        rows = np.array([i for i, _ in known])
        for i, c in zip(rows, suspects(np.array([scores for _, scores in known]), votes.given[rows]), strict=True):
            flags[i] = None if c == MISSING else classes[c]
    return flags


def _table(
    held_out: int,
    votes: Votes,
    flags: list[str | None],
    classes: tuple[str, ...],
    params: LabelParams,
    schema: pa.Schema,
) -> pa.Table:
    refined = refine(votes, classes, params)
    posterior = pa.array(refined.posterior.astype(np.float32).ravel(), pa.float32())
    columns = [
        pa.array(votes.clip_ids, pa.string()),
        pa.array(np.full(len(votes.given), held_out), pa.int32()),
        pa.array([classes[c] for c in votes.given], pa.string()),
        pa.array([classes[c] for c in refined.label], pa.string()),
        pa.FixedSizeListArray.from_arrays(posterior, len(classes)),
        pa.array(refined.label != votes.given, pa.bool_()),
        pa.array(refined.reason, pa.string()),
        pa.array(votes.spoken, pa.string()),
        pa.array(flags, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)
