"""Stage `frames`: video to JPEG frames with true timestamps."""

from pathlib import Path

from mer_pipeline.cli.stage import run_stage, stage
from mer_pipeline.params import load_params
from mer_pipeline.vision.frames import SampleFrames

import typer


@stage
def main() -> str:
    """Turn video to JPEG frames with true timestamps."""
    params = load_params()
    return run_stage(SampleFrames(params.frames, Path(params.dataset.root)), "frames", params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
