"""Stage `audio`: a clip's sound to 16 kHz mono."""

from pathlib import Path

from mer_pipeline.cli.stage import run_stage, stage
from mer_pipeline.params import load_params
from mer_pipeline.speech.track import ExtractAudio

import typer


@stage
def main() -> str:
    """Turn a clip's sound to 16 kHz mono."""
    params = load_params()
    return run_stage(ExtractAudio(params.audio, Path(params.dataset.root)), "audio", params.shards, params.quality)


if __name__ == "__main__":
    typer.run(main)
