"""Stage `faces`: cut aligned crops of the primary face from the frames."""

from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import faces
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import run_step

import typer


@stage
def main() -> str:
    """Cut aligned crops of the primary face from each clip's frames."""
    params = load_params()
    return run_step(faces(params), Project(), params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
