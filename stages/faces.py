"""Stage `faces`: frames to aligned crops of the primary face."""

from mer_pipeline.params import load_params
from mer_pipeline.project import Project
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import run_step
from mer_pipeline.steps import faces

import typer


@stage
def main() -> str:
    """Turn frames to aligned crops of the primary face."""
    params = load_params()
    return run_step(faces(params), Project(), params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
