"""Stage `enrich`: make the context-enriched text of every clip.

audio, faces ─► cues ─► cue_words ─┬─► prompts ─► replies ─┐      (if a language model writes it)
                                   └───────────────────────┴─► enriched
"""

from functools import partial

from mer_pipeline.config import steps
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.stage.enrich import EnrichSteps, enrich
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import StepRunner

import typer


@stage
def main() -> str:
    """Measure cues of voice and face, describe them in words relative to the speaker, and write the enriched text."""
    params = load_params()
    check_locked(checkpoints_of(enrich=params.enrich))
    each = EnrichSteps(steps.cues(), steps.prompts(params), partial(steps.replies, params), steps.enriched(params))
    return enrich(params.enrich, each, StepRunner(Project(), params.shards, params.quality))


if __name__ == "__main__":
    typer.run(main)
