"""The body of the stage `transcribe`, which `mer predict` runs too.

subtitles, audio ─► heard ─┐
subtitles ─────────────────┴─► transcript
"""

from __future__ import annotations

from mer_pipeline.config.steps import Step
from mer_pipeline.stage.rows import StepRunner
from mer_pipeline.tables.quarantine import write_problems
from mer_pipeline.tables.rows import stage_schema
from mer_pipeline.tables.shards import write_no_rows
from mer_pipeline.tables.transcript import write_transcript
from mer_pipeline.text.transcribe import Transcribe, TranscriptParams


def transcribe(params: TranscriptParams, heard: Step, run: StepRunner) -> str:
    """Take the subtitles, and recognise the words of clips that have none if the params name a recogniser.

    Args:
        params: the section `transcript` of params.yaml.
        heard: the step that recognises words.
        run: makes tables in the project; its tables `subtitles` and, for a recogniser, `audio` must be there.

    Returns:
        A line for each table that says what was done.

    Raises:
        MerError: as in `StepRunner`.
    """
    project, lines = run.project, list[str]()
    if params.backend == "none":
        write_no_rows(project.table("heard"), stage_schema(Transcribe.schema), run.shards)
        write_problems(project.quarantine("heard"), [])
    else:
        lines.append(run(heard))
    subtitles, words, out = (project.table(name) for name in ("subtitles", "heard", "transcript"))
    spoken = write_transcript(subtitles, words, out, run.shards)
    return "\n".join([*lines, f"transcribe: {spoken} clips have words"])
