"""Stage `labels`: combine all votes into one refined label per training clip, and record how each label was made."""

from mer_pipeline.base.target import target_of
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.labels.as_given import write_given_labels
from mer_pipeline.labels.audit import write_labels
from mer_pipeline.stage.main import stage
from mer_pipeline.tables.shards import forget_others, provenance_of

import typer


@stage
def main() -> str:
    """Refine the labels by `labels.method`: once with all clips, and once without each fold, for evaluation."""
    params, project = load_params(), Project()
    forget_others(project.votes, "vote", params.judges, project.quarantine_folder)
    target = target_of(provenance_of(project.folds), params.dataset.classes)
    if target.kind == "class":
        found = write_labels(params.labels, params.judges, params.dataset.classes, project)
    else:
        found = write_given_labels(target, project)
    return f"labels: {found.labelled} labels, {found.changed} changed ({found.method})"


if __name__ == "__main__":
    typer.run(main)
