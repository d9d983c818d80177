"""Stage `audio`: convert each clip's sound to 16 kHz mono."""

from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import audio
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import run_step

import typer


@stage
def main() -> str:
    """Convert each clip's sound to 16 kHz mono."""
    params = load_params()
    return run_step(audio(params), Project(), params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
