"""Stage `train`: train the fusion heads for all folds and seeds, and select one of them."""

from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.progress import progress_bar
from mer_pipeline.tables.shards import forget_others
from mer_pipeline.training.head_cache import head_cache
from mer_pipeline.training.task import Task
from mer_pipeline.training.train import train

import typer


@stage
def main() -> str:
    """Train every head on all modalities and on each alone. Write members, out-of-fold predictions and scores."""
    params, project = load_params(), Project()
    forget_others(project.features, "embed", params.encoders, project.quarantine_folder)
    task = Task(params.dataset.classes, params.encoder_names, params.train)
    return train(task, params.folds.n, project, head_cache(load_runtime()), progress_bar("train"))


if __name__ == "__main__":
    typer.run(main)
