"""Write `data/labels.parquet`: every refined label with its evidence, once from all votes and once without each fold.

    held_out_fold = -1   from all votes; these rows are for people to read
    held_out_fold =  f   without any vote on the clips of fold f; the head that is scored on fold f trains on these rows

With votes on all folds, a scored clip's own votes would influence the estimated confusions of the sources, and through
them the labels that its head trains on. For the same reason a judge that learns from given labels has separate votes
for each held-out fold (`judges.py`).

The column `suspect` is the class that confident learning finds for a suspect clip, from the fusion head's out-of-fold
probabilities. It changes no label; it tells people which clips to check first.
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
    """Return the schema of data/labels.parquet for this number of classes."""
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
    """Run the stage `labels`: read votes and folds, and write the labels and metrics/labels.json.

    Raises:
        DatasetError: `read_votes` does not accept a vote.
        ParamsError: a judge has the name of a source of the dataset's votes.
        StageError: a judge's votes are missing or incomplete, or were made with other folds.
    """
    given, folds = pq.read_table(project.given), pq.read_table(project.folds)
    votes = with_judges(given, project.votes, judges, folds, classes)
    labels = label_table(votes, folds, classes, params, opinions(project.votes, judges, folds))
    metrics = agree(votes, labels, classes, params, judges)
    write_table(project.labels, labels, {"stage": "labels", "params": params.model_dump_json()})
    metrics.write(project.metrics("labels"))
    return metrics


def label_table(
    votes: pa.Table, folds: pa.Table, classes: tuple[str, ...], params: LabelParams, said: pa.Table | None = None
) -> pa.Table:
    """Return the rows of data/labels.parquet, sorted by held_out_fold and clip.

    Args:
        votes: a table with the columns of VOTES_SCHEMA and, optionally, SCORES, WORKER, COUNT and HELD_OUT.
        folds: clip_id and fold (int32) of the labelled training clips.
        classes: the classes, in order.
        params: the method of refinement and its settings.
        said: what `opinions` returns, for the column `suspect`. With None that column is all null.

    Raises:
        DatasetError: `read_votes` does not accept a vote.
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
    """Return the class that each suspect clip seems to be of.

    It is None where the given label is not suspect, or where the head has no probabilities for the clip.
    """
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
