"""Stage `embed@NAME`: compute the feature vectors of one encoder for all clips."""

from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import embed
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import run_step

import typer


@stage
def main(name: str) -> str:
    """Compute a feature vector of every clip with the encoder NAME of params.yaml."""
    params = load_params()
    step = embed(params, name)
    check_locked(checkpoints_of({name: params.encoders[name]}))
    return run_step(step, Project(), params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
