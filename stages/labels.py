"""Stage `labels`: all votes to one refined label per training clip, with an audit row for each."""

from pathlib import Path

from mer_pipeline.cli.stage import stage
from mer_pipeline.labels.audit import LabelPaths, write_labels
from mer_pipeline.params import load_params
from mer_pipeline.tables.shards import forget_others

import typer


@stage
def main() -> str:
    """Refine the labels by `labels.method`, once for good and once without each fold."""
    params = load_params()
    paths = LabelPaths(
        votes=Path("data/votes"),
        folds=Path("data/folds.parquet"),
        labels=Path("data/labels.parquet"),
        metrics=Path("metrics/labels.json"),
    )
    forget_others(paths.votes, "vote", params.judges, Path("data/quarantine"))
    found = write_labels(params.dataset.classes, params.judges, params.labels, paths)
    return f"labels: {found.labelled} labels, {found.changed} changed ({found.method})"


if __name__ == "__main__":
    typer.run(main)
