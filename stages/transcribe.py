"""Stage `transcribe`: the words of every clip, from the dataset's subtitles and from what a recogniser heard.

subtitles, audio ─► heard ─┐
subtitles ─────────────────┴─► transcript
"""

from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import heard
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import StepRunner
from mer_pipeline.stage.transcribe import transcribe

import typer


@stage
def main() -> str:
    """Take the subtitles, and recognise the words of clips that have none if params.yaml names a recogniser."""
    params = load_params()
    check_locked(checkpoints_of(transcript=params.transcript.used))
    return transcribe(params.transcript, heard(params), StepRunner(Project(), params.shards, params.quality))


if __name__ == "__main__":
    typer.run(main)
