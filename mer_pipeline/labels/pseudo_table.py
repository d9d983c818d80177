"""Write and read `data/pseudo.parquet`, which has one audit row per clip of the pool and held-out fold.

    held_out_fold = -1   all labels were seen; these rows are for people to read
    held_out_fold =  f   made without any label of fold f; the head that is scored on fold f trains on these rows

`label` is null where a clip was not taken, and `reason` says why. With no round of pseudo-labels the table is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mer_pipeline.base.errors import StageError
from mer_pipeline.labels.judges import FINAL, HELD_OUT
from mer_pipeline.labels.pseudo import REASONS, ClassRule, Opinions, Selection
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.tables.shards import write_table

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Decided:
    """The outcome for one held-out fold on the m clips of the pool.

    Attributes:
        held_out: the fold, or FINAL where none is held out.
        opinions: the opinions of the last round.
        families: the names of the families in `opinions`.
        rules: the rules of the last round, one per class.
        selection: the selection of the last round.
        since: int64 (m,), the round in which a clip got the label that it has; MISSING where it has none.
    """

    held_out: int
    opinions: Opinions
    families: tuple[str, ...]
    rules: tuple[ClassRule, ...]
    selection: Selection
    since: Ints


def pseudo_schema(classes: int) -> pa.Schema:
    """Return the schema of data/pseudo.parquet for this number of classes."""
    return pa.schema(
        [
            pa.field("clip_id", pa.string(), nullable=False),
            pa.field(HELD_OUT, pa.int32(), nullable=False),
            pa.field("label", pa.string()),  # null: not taken
            pa.field("probability", pa.float32()),  # of the class that the head predicts; null: it predicts none
            pa.field("scores", pa.list_(pa.float32(), classes)),  # the head's probability of each class
            pa.field("families", pa.list_(pa.string()), nullable=False),  # corroborating families that agree
            pa.field("threshold", pa.float32()),  # of the predicted class; null: no clip is taken as this class
            pa.field("round", pa.int32()),  # in which the clip got this label
            pa.field("reason", pa.string(), nullable=False),
        ]
    )


def write_pseudo(path: Path, clip_ids: Sequence[str], decided: Sequence[Decided], classes: Sequence[str]) -> None:
    """Write the table, sorted by held-out fold and clip. With an empty `decided` the table has no rows."""
    schema = pseudo_schema(len(classes))
    tables = [_table(clip_ids, one, classes, schema) for one in decided]
    write_table(path, pa.concat_tables([schema.empty_table(), *tables]), {"stage": "pseudo"})


def read_pseudo(path: Path, folds: int, classes: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    """Read the clips that have a pseudo-label for at least one held-out fold, and their labels.

    Returns:
        The ids of these m clips, sorted.
        int64 (folds, m), their labels for each held-out fold, MISSING where a clip has none.

    Raises:
        StageError: the table was made with other folds or classes.
    """
    table = pq.read_table(path, columns=["clip_id", HELD_OUT, "label"])
    strange = f"{path} was made with other folds or classes; run `dvc repro pseudo`"
    if table.num_rows and set(pc.unique(table[HELD_OUT]).to_pylist()) != {FINAL, *range(folds)}:
        raise StageError(strange)
    table = table.filter(pc.and_(pc.is_valid(table["label"]), pc.not_equal(table[HELD_OUT], FINAL)))
    index = {label: c for c, label in enumerate(classes)}
    clip_ids = tuple(sorted(set(table["clip_id"].to_pylist())))
    at = {clip_id: i for i, clip_id in enumerate(clip_ids)}
    labels = np.full((folds, len(at)), MISSING, dtype=np.int64)
    for clip_id, held_out, label in zip(*(column.to_pylist() for column in table.columns), strict=True):
        if label not in index:
            raise StageError(strange)
        labels[held_out, at[clip_id]] = index[label]
    return clip_ids, labels


def _table(clip_ids: Sequence[str], one: Decided, classes: Sequence[str], schema: pa.Schema) -> pa.Table:
    leader, taken = one.opinions.leader, one.selection.label != MISSING
    silent = ~one.opinions.heard
    words = np.array([[reason.format(label) for label in classes] for reason in REASONS])
    limits = np.array([np.nan if rule.threshold is None else rule.threshold for rule in one.rules])
    threshold = np.where(silent, np.nan, limits[leader])
    agree = one.opinions.families == leader[:, None]
    # A list of names per clip, without a loop over clips: all names that agree, and where each clip's list begins.
    _, which = np.nonzero(agree & ~silent[:, None])
    starts = np.concatenate([[0], np.cumsum((agree & ~silent[:, None]).sum(axis=1))])
    scores = pa.FixedSizeListArray.from_arrays(
        pa.array(one.opinions.scores.astype(np.float32).ravel()), len(classes), mask=pa.array(silent)
    )
    columns = [
        pa.array(clip_ids, pa.string()),
        pa.array(np.full(len(clip_ids), one.held_out), pa.int32()),
        pa.array(np.array(classes)[one.selection.label], pa.string(), mask=~taken),
        pa.array(one.opinions.sure.astype(np.float32), pa.float32(), mask=silent),
        scores,
        pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array([one.families[w] for w in which], pa.string())),
        pa.array(threshold.astype(np.float32), pa.float32(), mask=np.isnan(threshold)),
        pa.array(one.since, pa.int32(), mask=~taken),
        pa.array(words[one.selection.reason, np.maximum(leader, 0)].tolist(), pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)
