"""The file metrics/ingest.json: how many clips a dataset has, and how many folds could be made."""

from __future__ import annotations

from mer_pipeline.metrics.base import MetricFile


class IngestMetrics(MetricFile):
    """The counts of a dataset.

    Attributes:
        clips: the number of clips of each split.
        groups: the number of groups (speakers or scenes).
        folds: the number of folds.
        folds_asked: the number of folds that params.yaml asks for.
        folds_note: a note on the folds that is needed to understand the scores, or "".
        broken: the number of files that could not be read.
        notes: the number of other rows of the quarantine.
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
