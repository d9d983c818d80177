"""Write `data/labels.parquet` where sets of classes or numbers are predicted: every label is the given one.

All methods of refinement estimate one class per clip, so none applies, and `labels.method` must be `given`. The table
has the columns and the rows of audit.py; the column `posterior` holds the numbers of the label (base/target.py).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mer_pipeline.base.clips import GIVEN
from mer_pipeline.base.errors import StageError
from mer_pipeline.base.target import Target
from mer_pipeline.config.project import Project
from mer_pipeline.labels.audit import label_schema
from mer_pipeline.labels.judges import FINAL
from mer_pipeline.metrics.labels import FamilyVotes, LabelMetrics
from mer_pipeline.tables.shards import write_table

REASON = "as given: labels.method is 'given'"


def write_given_labels(target: Target, project: Project) -> LabelMetrics:
    """Run the stage `labels`: write the given labels as refined ones, and metrics/labels.json.

    Raises:
        StageError: a clip of a fold has no given label.
    """
    given, folds = pq.read_table(project.given), pq.read_table(project.folds)
    given = given.filter(pc.equal(given["source"], GIVEN))
    label_of = dict(zip(given["clip_id"].to_pylist(), given["label"].to_pylist(), strict=True))
    fold_of = dict(sorted(zip(folds["clip_id"].to_pylist(), folds["fold"].to_pylist(), strict=True)))
    for clip_id in fold_of:
        if clip_id not in label_of:
            raise StageError(f"{project.given} has no label of clip '{clip_id}'; run `dvc repro ingest`")
    schema, parts = label_schema(len(target.names)), []
    for f in (FINAL, *sorted(set(fold_of.values()))):
        seen = {clip_id: label_of[clip_id] for clip_id, fold in fold_of.items() if fold != f}
        parts.append(_rows(target, f, seen, schema))
    write_table(project.labels, pa.concat_tables(parts), {"stage": "labels", **target.footer()})
    own = [label_of[clip_id] for clip_id in fold_of]
    metrics = LabelMetrics(
        method="given",
        labelled=len(own),
        changed=0,
        changed_by_class={},
        given_by_class=_counts(target, own),
        families={name: FamilyVotes(sources=(GIVEN,), votes=len(own)) for name in set(given["family"].to_pylist())},
        judges={},
        sources={},
        pairs=(),
        dependent=(),
        within_families=(),
        crowds={},
        warnings=(),
        suspect=0,
    )
    metrics.write(project.metrics("labels"))
    return metrics


def _rows(target: Target, held_out: int, label_of: dict[str, str], schema: pa.Schema) -> pa.Table:
    """Return the rows of one held-out fold, for the clips that it does not hold out."""
    labels, n = list(label_of.values()), len(label_of)
    numbers = np.concatenate([np.zeros(0, np.float32), *map(target.vector, labels)])
    columns = [
        pa.array(label_of, pa.string()),
        pa.array(np.full(n, held_out), pa.int32()),
        pa.array(labels, pa.string()),
        pa.array(labels, pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(numbers, pa.float32()), len(target.names)),
        pa.array([False] * n, pa.bool_()),
        pa.array([REASON] * n, pa.string()),
        pa.array([f"{GIVEN}={label}" for label in labels], pa.string()),
        pa.nulls(n, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _counts(target: Target, labels: list[str]) -> dict[str, int]:
    """Return in how many sets each class is; nothing for numbers."""
    if target.kind != "multilabel":
        return {}
    found = Counter(name for label in labels for name in target.names if target.vector(label)[target.names.index(name)])
    return {name: found[name] for name in target.names}
