"""Write the quarantine of a stage, `data/quarantine/<stage>.parquet`, and check that not too many clips failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mer_pipeline.base.clips import PROBLEM_SCHEMA, Row
from mer_pipeline.base.errors import TooManyFailed
from mer_pipeline.config.section import Fraction, Section
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import write_table


class QualityParams(Section):
    """How many clips may fail before a stage stops with an error."""

    max_failed: Fraction = 0.05  # largest share of a stage's clips that may fail; above it, the stage fails


def problem_row(clip_id: str, error: str, message: str, input_digest: str, traceback: str | None = None) -> Row:
    """Return a row of `PROBLEM_SCHEMA`."""
    row = (clip_id, error, message, input_digest, traceback)
    return dict(zip(PROBLEM_SCHEMA.names, row, strict=True))


def write_problems(path: Path, problems: Sequence[Row]) -> None:
    """Write a quarantine file, sorted by clip."""
    ordered = sorted(problems, key=lambda row: (str(row["clip_id"]), str(row["message"])))
    write_table(path, to_table(ordered, PROBLEM_SCHEMA))


def check_quality(stage: str, problems: Sequence[Row], clips: int, quality: QualityParams, quarantine: Path) -> None:
    """Raise an error if too many clips of a stage failed.

    One failed clip is always allowed, so that a small dataset does not stop at its first broken clip. The exceptions
    are a dataset of one clip, and `max_failed` 0.

    Args:
        stage: the name of the stage, for the message.
        problems: the rows of the quarantine.
        clips: the number of all clips.
        quality: the largest share that may fail.
        quarantine: the path of the quarantine table, for the message.

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
