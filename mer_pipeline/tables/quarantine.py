"""`data/quarantine/<stage>.parquet`: the clips that a stage could not do and why; how many are too many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mer_pipeline.base.clips import PROBLEM_SCHEMA, Row
from mer_pipeline.base.errors import TooManyFailed
from mer_pipeline.config.section import Fraction, Section
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import write_table


class QualityParams(Section):
    """When a stage must stop and call a person."""

    max_failed: Fraction = 0.05  # of a stage's clips; above it the stage fails


def problem_row(clip_id: str, error: str, message: str, input_digest: str, traceback: str | None = None) -> Row:
    """A row of PROBLEM_SCHEMA."""
    row = (clip_id, error, message, input_digest, traceback)
    return dict(zip(PROBLEM_SCHEMA.names, row, strict=True))


def write_problems(path: Path, problems: Sequence[Row]) -> None:
    """Write a quarantine file, sorted by clip."""
    ordered = sorted(problems, key=lambda row: (str(row["clip_id"]), str(row["message"])))
    write_table(path, to_table(ordered, PROBLEM_SCHEMA))


def check_quality(stage: str, problems: Sequence[Row], clips: int, quality: QualityParams, quarantine: Path) -> None:
    """Stop a stage of which too much failed. In a small folder one broken clip is not too much, unless it is the only
    one or `max_failed` is 0.

    Raises:
        TooManyFailed: more than `quality.max_failed` of the clips are in the quarantine.
    """
    allowed = max(quality.max_failed * clips, 1 if quality.max_failed > 0 and clips > 1 else 0)
    if len(problems) > allowed:
        first = min(problems, key=lambda row: str(row["clip_id"]))
        raise TooManyFailed(
            f"{stage}: {len(problems)} of {clips} clips failed, more than quality.max_failed = {quality.max_failed:g}; "
            f"the first is '{first['clip_id']}': {first['message']} (all: {quarantine}). "
            "Mend or remove them, or raise quality.max_failed in params.yaml"
        )
