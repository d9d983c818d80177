"""Stage `frames`: sample JPEG frames with their true timestamps from the videos."""

from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import frames
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import run_step

import typer


@stage
def main() -> str:
    """Sample JPEG frames with their true timestamps from each clip's video."""
    params = load_params()
    return run_step(frames(params), Project(), params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
