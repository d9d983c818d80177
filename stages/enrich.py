"""Stage `enrich`: every clip's text with its context.

audio, faces ─► cues ─► cue_words ─┬─► prompts ─► replies ─┐      (where a model writes)
                                   └───────────────────────┴─► enriched
"""

from mer_pipeline.cli.asking import ask_all, no_replies
from mer_pipeline.cli.stage import run_stage, stage
from mer_pipeline.enrich.backend import LanguageModelParams
from mer_pipeline.enrich.context import write_context
from mer_pipeline.enrich.cues import MeasureCues
from mer_pipeline.enrich.transform import Enrich
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.params import load_params
from mer_pipeline.project import Project
from mer_pipeline.tables.shards import read_folder

import pyarrow.parquet as pq
import typer


@stage
def main() -> str:
    """Measure voice and face, put them in words against each speaker's habit, and write each clip's context."""
    params, project = load_params(), Project()
    enrich, classes = params.enrich, params.dataset.classes
    check_locked(checkpoints_of({}, {}, enrich))
    lines = [run_stage(MeasureCues(), "cues", params.shards, params.quality)]
    write_context(
        read_folder(project.table("cues")).to_pylist(),
        read_folder(project.table("transcript"), ["clip_id", "zh", "en"]).to_pylist(),
        pq.read_table(project.manifest, columns=["clip_id", "group", "order"]).to_pylist(),
        enrich,
        project.table("cue_words"),
    )
    if isinstance(enrich, LanguageModelParams):
        lines += ask_all(enrich, classes, params.shards, params.quality)
    else:
        no_replies(params.shards)
    return "\n".join([*lines, run_stage(Enrich(enrich, classes), "enriched", params.shards, params.quality)])


if __name__ == "__main__":
    typer.run(main)
