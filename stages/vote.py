"""Stage `vote@NAME`: let one judge vote on all clips."""

from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import vote
from mer_pipeline.judges.fusion_head import FusionHead, FusionHeadParams
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.progress import progress_bar
from mer_pipeline.stage.rows import run_step
from mer_pipeline.tables.shards import forget_others

import typer


@stage
def main(name: str) -> str:
    """Let the judge NAME of params.yaml say how well each class fits each clip."""
    params, project = load_params(), Project()
    step = vote(params, name)
    judge = params.judges[name]
    if isinstance(judge, FusionHeadParams):
        # Imported here, so that other judges do not import torch.
        from mer_pipeline.training.fusion_head_judge import vote_by_head
        from mer_pipeline.training.head_cache import head_cache
        from mer_pipeline.training.task import Task

        forget_others(project.features, "embed", params.encoders, project.quarantine_folder)
        head, bar = FusionHead(name, judge, params.shards), progress_bar(step.name)
        task = Task(params.dataset.classes, params.encoder_names, params.train)
        return vote_by_head(head, task, project, head_cache(load_runtime()), bar)
    check_locked(checkpoints_of(judges={name: judge}))
    return run_step(step, project, params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
