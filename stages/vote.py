"""Stage `vote@NAME`: one judge over all clips."""

from mer_pipeline.cli.stage import progress_bar, run_stage, stage
from mer_pipeline.errors import ParamsError, did_you_mean
from mer_pipeline.judges.fusion_head import FusionHead, FusionHeadParams
from mer_pipeline.judges.judge import make_judge
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.params import load_params
from mer_pipeline.project import Project
from mer_pipeline.runtime import load_runtime
from mer_pipeline.tables.shards import forget_others

import typer


@stage
def main(name: str) -> str:
    """Let the judge NAME of params.yaml say how much each class fits each clip."""
    params, project = load_params(), Project()
    if name not in params.judges:
        raise ParamsError(f"params.yaml has no judge '{name}'{did_you_mean(name, params.judges)}")
    judge = params.judges[name]
    if isinstance(judge, FusionHeadParams):
        from mer_pipeline.training.fusion_head_judge import vote
        from mer_pipeline.training.head_cache import head_cache
        from mer_pipeline.training.task import Task

        forget_others(project.features, "embed", params.encoders, project.quarantine_folder)
        head, bar = FusionHead(name, judge, params.shards), progress_bar(f"vote-{name}")
        task = Task(params.dataset.classes, params.encoder_names, params.train)
        return vote(head, task, project, head_cache(load_runtime()), bar)
    check_locked(checkpoints_of({}, {name: judge}))
    return run_stage(make_judge(name, judge, params.dataset.classes), f"votes/{name}", params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
