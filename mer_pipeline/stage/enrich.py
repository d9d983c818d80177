"""The body of the stage `enrich`, which `mer predict` runs too.

audio, faces ─► cues ─► cue_words ─┬─► prompts ─► replies ─┐      (if a language model writes it)
                                   └───────────────────────┴─► enriched
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import Step, inputs_of
from mer_pipeline.enrich.ask import clear_kept, open_journal
from mer_pipeline.enrich.asking import no_replies, refuse_unknown
from mer_pipeline.enrich.backend import EnrichParams, LanguageModelParams
from mer_pipeline.enrich.context import write_context
from mer_pipeline.enrich.journal import Journal
from mer_pipeline.enrich.ledger import Ledger
from mer_pipeline.stage.rows import StepRunner


@dataclass(frozen=True)
class EnrichSteps:
    """The steps of the stage. `replies` makes its step from the journal and the ledger of the requests."""

    cues: Step
    prompts: Step
    replies: Callable[[Journal, Ledger], Step]
    enriched: Step


def enrich(params: EnrichParams, steps: EnrichSteps, run: StepRunner, population: Project | None = None) -> str:
    """Measure cues of voice and face, describe them in words relative to the speaker, and write the enriched text.

    Args:
        params: the section `enrich` of params.yaml.
        steps: the steps of the stage.
        run: makes tables in the project; its tables `manifest`, `transcript`, `audio` and `faces` must be there.
        population: as in `write_context`.

    Returns:
        A line for each table that says what was done.

    Raises:
        MerError: as in `StepRunner`.
        StageError: `enrich.offline` is on and a reply is not known.
    """
    project, lines = run.project, [run(steps.cues)]
    if note := write_context(params, project, population):
        lines.append(note)
    if isinstance(params, LanguageModelParams):
        journal, ledger = open_journal(), Ledger()
        replies = steps.replies(journal, ledger)
        lines.append(run(steps.prompts))
        if params.offline:
            asker = replies.make()
            refuse_unknown(asker, inputs_of(asker, project, run.shards.count), run.runtime, journal)
        lines.append(run(replies))
        if run.runtime.store_url is not None:  # without a store, only the journal keeps replies for the next run
            clear_kept(journal, project.table("replies"))
        lines += [str(ledger)] if ledger.requests else []
    else:
        no_replies(project, run.shards)
    return "\n".join([*lines, run(steps.enriched)])
