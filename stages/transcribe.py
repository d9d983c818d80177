"""Stage `transcribe`: the words of every clip, from the dataset's subtitles and from what a recogniser heard.

subtitles, audio ─► heard ─┐
subtitles ─────────────────┴─► transcript
"""

from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import heard
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import run_step
from mer_pipeline.tables.quarantine import write_problems
from mer_pipeline.tables.rows import stage_schema
from mer_pipeline.tables.shards import write_no_rows
from mer_pipeline.tables.transcript import write_transcript
from mer_pipeline.text.transcribe import Transcribe

import typer


@stage
def main() -> str:
    """Take the subtitles, and recognise the words of clips that have none if params.yaml names a recogniser."""
    params, project = load_params(), Project()
    check_locked(checkpoints_of(transcript=params.transcript.used))
    lines = []
    if params.transcript.backend == "none":
        write_no_rows(project.table("heard"), stage_schema(Transcribe.schema), params.shards)
        write_problems(project.quarantine("heard"), [])
    else:
        lines.append(run_step(heard(params), project, params.shards, params.quality))
    subtitles, words, out = (project.table(name) for name in ("subtitles", "heard", "transcript"))
    spoken = write_transcript(subtitles, words, out, params.shards)
    return "\n".join([*lines, f"transcribe: {spoken} clips have words"])


if __name__ == "__main__":
    typer.run(main)
