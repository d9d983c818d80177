"""Stage `faces`: frames to aligned crops of the primary face."""

from mer_pipeline.cli.stage import run_stage, stage
from mer_pipeline.params import load_params
from mer_pipeline.vision.faces import CropFaces

import typer


@stage
def main() -> str:
    """Turn frames to aligned crops of the primary face."""
    params = load_params()
    return run_stage(CropFaces(params.faces), "faces", params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
