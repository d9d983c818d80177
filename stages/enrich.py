"""Stage `enrich`: make the context-enriched text of every clip.

audio, faces ─► cues ─► cue_words ─┬─► prompts ─► replies ─┐      (if a language model writes it)
                                   └───────────────────────┴─► enriched
"""

from functools import partial

from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.config import steps
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.enrich.ask import clear_kept, open_journal
from mer_pipeline.enrich.asking import no_replies, refuse_unknown
from mer_pipeline.enrich.backend import LanguageModelParams
from mer_pipeline.enrich.context import write_context
from mer_pipeline.enrich.ledger import Ledger
from mer_pipeline.models.lock import check_locked, checkpoints_of
from mer_pipeline.stage.main import stage
from mer_pipeline.stage.rows import run_step

import typer


@stage
def main() -> str:
    """Measure cues of voice and face, describe them in words relative to the speaker, and write the enriched text."""
    params, project, runtime = load_params(), Project(), load_runtime()
    run = partial(run_step, project=project, shards=params.shards, quality=params.quality)
    check_locked(checkpoints_of(enrich=params.enrich))
    lines = [run(steps.cues())]
    if note := write_context(params.enrich, project):
        lines.append(note)
    if isinstance(params.enrich, LanguageModelParams):
        journal, ledger = open_journal(), Ledger()
        replies = steps.replies(params, journal, ledger)
        lines.append(run(steps.prompts(params)))
        if params.enrich.offline:
            asker = replies.make()
            refuse_unknown(asker, steps.inputs_of(asker, project, params.shards.count), runtime, journal)
        lines.append(run(replies))
        if runtime.store_url is not None:  # without a store, only the journal keeps replies for the next run
            clear_kept(journal, project.table("replies"))
        lines += [str(ledger)] if ledger.requests else []
    else:
        no_replies(project, params.shards)
    return "\n".join([*lines, run(steps.enriched(params))])


if __name__ == "__main__":
    typer.run(main)
