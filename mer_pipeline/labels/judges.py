"""Join the votes of the judges in params.yaml with the votes that came with the dataset.

The table `data/votes/NAME/` of an ordinary judge has one row per clip, which is used for every held-out fold. A judge
that learns from the given labels (training/fusion_head_judge.py) has one row per clip and `held_out_fold` instead,
because a vote that is used when fold f is held out must not depend on the labels of fold f. In both cases a clip
without a valid row, or with a row without a label, has no vote.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mer_pipeline.base.clips import VOTES_SCHEMA
from mer_pipeline.base.errors import ParamsError, StageError
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.labels.votes import SCORES
from mer_pipeline.tables.shards import read_folder, shard_name

HELD_OUT = "held_out_fold"
FINAL = -1  # no fold is held out
ALL_VOTES_SCHEMA = VOTES_SCHEMA.append(pa.field(SCORES, pa.list_(pa.float64()))).append(
    pa.field(HELD_OUT, pa.int32())  # null: the vote is used for every held-out fold
)

OPINIONS = ("clip_id", SCORES)


def with_judges(given: pa.Table, folder: Path, judges: Mapping[str, JudgeParams], folds: pa.Table) -> pa.Table:
    """Return all votes of `given` and the judges' votes on the labelled clips, as a table of ALL_VOTES_SCHEMA.

    Args:
        given: a table with the columns of VOTES_SCHEMA and, optionally, SCORES.
        folder: the folder that holds one folder per judge; only those of `judges` are read.
        judges: the judges by name; the name becomes the source of their votes.
        folds: clip_id and fold (int32) of the labelled training clips.

    Raises:
        ParamsError: a judge has the name of a source in `given`.
        StageError: a judge's votes are missing or incomplete, or were made with other folds.
    """
    if taken := sorted(set(pc.unique(given["source"]).to_pylist()) & judges.keys()):
        raise ParamsError(f"judges: '{taken[0]}' is also a source of the dataset's votes; give the judge another name")
    tables = [pa.table({field.name: _column(given, field) for field in ALL_VOTES_SCHEMA}, schema=ALL_VOTES_SCHEMA)]
    return pa.concat_tables([*tables, *(_votes_of(name, judges[name].home, folder, folds) for name in judges)])


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


def _votes_of(name: str, family: str, folder: Path, folds: pa.Table) -> pa.Table:
    if not (folder / name / shard_name(0)).is_file():
        raise StageError(
            f"there are no votes of judge '{name}' in {folder / name}; make them with `dvc repro vote@{name}`"
        )
    table = read_folder(folder / name)
    table = table.filter(pc.is_in(table["clip_id"], value_set=folds["clip_id"].combine_chunks()))
    if HELD_OUT in table.column_names:
        _check_folds(name, table, folds)
    table = table.filter(pc.and_(table["valid"], pc.is_valid(table["label"])))
    said = {
        "clip_id": table["clip_id"],
        "source": pa.array([name] * table.num_rows, pa.string()),
        "family": pa.array([family] * table.num_rows, pa.string()),
        "label": table["label"],
        SCORES: table[SCORES],
        HELD_OUT: _column(table, ALL_VOTES_SCHEMA.field(HELD_OUT)),
    }
    return pa.table(said).cast(ALL_VOTES_SCHEMA)


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
