"""Join the votes of the judges in params.yaml with the votes that came with the dataset.

The table `data/votes/NAME/` of an ordinary judge has one row per clip, which is used for every held-out fold. A judge
that learns from the given labels (training/fusion_head_judge.py) has one row per clip and `held_out_fold` instead,
because a vote that is used when fold f is held out must not depend on the labels of fold f. In both cases a clip
without a valid row, or with a row without a label, has no vote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mer_pipeline.base.clips import VOTES_SCHEMA
from mer_pipeline.base.errors import ParamsError, StageError
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.labels.votes import COUNT, SCORES, WORKER
from mer_pipeline.tables.shards import read_folder, shard_name

HELD_OUT = "held_out_fold"
FINAL = -1  # no fold is held out
ALL_VOTES_SCHEMA = pa.schema(
    [
        *VOTES_SCHEMA,
        pa.field(SCORES, pa.list_(pa.float64())),
        pa.field(WORKER, pa.string()),
        pa.field(COUNT, pa.int64()),
        pa.field(HELD_OUT, pa.int32()),  # null: the vote is used for every held-out fold
    ]
)
TOTAL = "total"  # a column of the judge `csv`: the sum of the numbers in the clip's row of the CSV

OPINIONS = ("clip_id", SCORES)
WHOLE = 1e-2  # a number nearer than this to a whole one is whole


def with_judges(
    given: pa.Table, folder: Path, judges: Mapping[str, JudgeParams], folds: pa.Table, classes: Sequence[str]
) -> pa.Table:
    """Return all votes of `given` and the judges' votes on the labelled clips, as a table of ALL_VOTES_SCHEMA.

    Args:
        given: a table with the columns of VOTES_SCHEMA and, optionally, SCORES, WORKER and COUNT.
        folder: the folder that holds one folder per judge; only those of `judges` are read.
        judges: the judges by name; the name becomes the source of their votes.
        folds: clip_id and fold (int32) of the labelled training clips.
        classes: the classes, in order.

    Raises:
        ParamsError: a judge has the name of a source in `given`.
        StageError: a judge's votes are missing or incomplete, or were made with other folds.
    """
    if taken := sorted(set(pc.unique(given["source"]).to_pylist()) & judges.keys()):
        raise ParamsError(f"judges: '{taken[0]}' is also a source of the dataset's votes; give the judge another name")
    tables = [_votes_table({field.name: _column(given, field) for field in ALL_VOTES_SCHEMA})]
    return pa.concat_tables([*tables, *(_votes_of(name, judges[name].home, folder, folds, classes) for name in judges)])


def serving(votes: pa.Table, held_out: int) -> pa.Table:
    """Return the votes that may be used when this fold is held out.

    A table without the column HELD_OUT is returned whole.
    """
    if HELD_OUT not in votes.column_names:
        return votes
    return votes.filter(pc.or_kleene(pc.is_null(votes[HELD_OUT]), pc.equal(votes[HELD_OUT], held_out)))


def opinions(folder: Path, judges: Mapping[str, JudgeParams], folds: pa.Table) -> pa.Table | None:
    """Return the out-of-fold class probabilities of a fusion-head judge for the labelled clips.

    Args:
        folder: the folder that holds one folder per judge. `with_judges` checks it and must have been called before.
        judges: the judges by name. The first fusion-head judge is taken.
        folds: clip_id and fold (int32) of the labelled training clips.

    Returns:
        A table with the columns OPINIONS and HELD_OUT, or None if there is no fusion-head judge.
    """
    name = next((name for name, judge in judges.items() if judge.is_head), None)
    if name is None:
        return None
    table = read_folder(folder / name)
    labelled = pc.is_in(table["clip_id"], value_set=folds["clip_id"].combine_chunks())
    return table.filter(pc.and_(labelled, table["valid"])).select([*OPINIONS, HELD_OUT])


def _votes_table(columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    return pa.table(dict(columns), schema=ALL_VOTES_SCHEMA)


def _votes_of(name: str, family: str, folder: Path, folds: pa.Table, classes: Sequence[str]) -> pa.Table:
    if not (folder / name / shard_name(0)).is_file():
        raise StageError(
            f"there are no votes of judge '{name}' in {folder / name}; make them with `dvc repro vote@{name}`"
        )
    table = read_folder(folder / name)
    table = table.filter(pc.is_in(table["clip_id"], value_set=folds["clip_id"].combine_chunks()))
    if HELD_OUT in table.column_names:
        _check_folds(name, table, folds)
    table = table.filter(table["valid"])
    if TOTAL in table.column_names and (counts := _counts(table)) is not None:
        return _raters(name, family, table["clip_id"].to_pylist(), counts, classes)
    table = table.filter(pc.is_valid(table["label"]))
    said = {
        "clip_id": table["clip_id"],
        "source": pa.array([name] * table.num_rows, pa.string()),
        "family": pa.array([family] * table.num_rows, pa.string()),
        "label": table["label"],
        SCORES: table[SCORES],
        WORKER: pa.nulls(table.num_rows, pa.string()),
        COUNT: pa.nulls(table.num_rows, pa.int64()),
        HELD_OUT: _column(table, ALL_VOTES_SCHEMA.field(HELD_OUT)),
    }
    return pa.table(said).cast(ALL_VOTES_SCHEMA)


def _counts(table: pa.Table) -> NDArray[np.int64] | None:
    """Return the numbers of a CSV, int64 (n, C), if they are counts of raters, else None.

    They are counts if all of them are whole and their sum is above 1 on some clip. They are none if the sum is the same
    multiple of 10 on all clips: those are shares in tenths or per cent.
    """
    total = np.array(table[TOTAL].to_pylist(), dtype=np.float64)
    if not len(total) or total.max() <= 1:
        return None
    numbers = np.array(table[SCORES].to_pylist(), dtype=np.float64) * total[:, None]
    whole: NDArray[np.int64] = np.round(numbers).astype(np.int64)
    shares = bool((total == total[0]).all() and total[0] % 10 == 0)
    # The scores are float32, so that a number of some hundreds is exact to four digits at least.
    return None if shares or np.abs(numbers - whole).max() > WHOLE else whole


def _raters(
    name: str, family: str, clip_ids: Sequence[str], counts: NDArray[np.int64], classes: Sequence[str]
) -> pa.Table:
    """Return a row for each class that a crowd names on a clip."""
    at = [(i, c) for i, c in np.argwhere(counts).tolist()]
    rows = len(at)
    return _votes_table(
        {
            "clip_id": pa.array([clip_ids[i] for i, _ in at], pa.string()),
            "source": pa.array([name] * rows, pa.string()),
            "family": pa.array([family] * rows, pa.string()),
            "label": pa.array([classes[c] for _, c in at], pa.string()),
            SCORES: pa.nulls(rows, ALL_VOTES_SCHEMA.field(SCORES).type),
            WORKER: pa.nulls(rows, pa.string()),
            COUNT: pa.array([counts[i, c] for i, c in at], pa.int64()),
            HELD_OUT: pa.nulls(rows, pa.int32()),
        }
    )


def _column(table: pa.Table, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    """Return the table's column, cast to the field's type; only nulls if the table has no such column."""
    if field.name not in table.column_names:
        return pa.nulls(table.num_rows, field.type)
    return table[field.name].cast(field.type)


def _check_folds(name: str, table: pa.Table, folds: pa.Table) -> None:
    """Check that a judge's votes were made with these folds.

    Votes made with other folds may depend on labels of the fold that is now held out.

    Raises:
        StageError: the votes were made with other folds.
    """
    fold_of = dict(zip(folds["clip_id"].to_pylist(), folds["fold"].to_pylist(), strict=True))
    held_out = [FINAL, *sorted(set(fold_of.values()))]
    expected = {(clip_id, f) for clip_id, fold in fold_of.items() for f in held_out if f != fold}
    if set(zip(table["clip_id"].to_pylist(), table[HELD_OUT].to_pylist(), strict=True)) != expected:
        raise StageError(f"the votes of judge '{name}' were made with other folds; run `dvc repro vote@{name}`")
