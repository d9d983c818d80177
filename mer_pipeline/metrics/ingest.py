"""metrics/ingest.json: how many clips a dataset has, and how many folds could be dealt."""

from __future__ import annotations

from mer_pipeline.metrics.base import MetricFile


class IngestMetrics(MetricFile):
    """Counts of a dataset.

    Attributes:
        clips: by split.
        groups: speakers or scenes.
        folds: how many there are.
        folds_asked: how many were asked for.
        folds_note: what a reader of the scores must know of the folds, or "".
        broken: files that could not be read.
        notes: other lines of the quarantine.
    """

    STAGE = "ingest"
    INDENT, SORTED = 1, False

    clips: dict[str, int]
    groups: int
    folds: int
    folds_asked: int
    folds_note: str
    broken: int
    notes: int
