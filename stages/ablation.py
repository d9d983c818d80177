"""Stage `ablation`: measure what each part of the system contributes."""

from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.scores.ablation_table import nothing_measured, write_ablation
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.progress import progress_bar
from mer_pipeline.tables.shards import forget_others

import typer


@stage
def main() -> str:
    """Cross-validate the system with one part changed at a time, and write scores, differences and significance."""
    params, project = load_params(), Project()
    if not params.ablation.enabled:
        write_ablation(project, nothing_measured(None))
        return "ablation: off (ablation.enabled)"
    # Imported here, so that a stage that is off does not import torch.
    from mer_pipeline.training.ablation import ablate
    from mer_pipeline.training.head_cache import head_cache
    from mer_pipeline.training.task import Task

    forget_others(project.features, "embed", params.encoders, project.quarantine_folder)
    task = Task(params.dataset.classes, params.encoder_names, params.train)
    cache = head_cache(load_runtime())
    return ablate(params.ablation, params.predict, task, project, cache, progress_bar("ablation"))


if __name__ == "__main__":
    typer.run(main)
