"""Asking a model about every clip: what the `enrich` stage does, and what `mer enrich` says before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from mer_pipeline.atomic import atomic_write
from mer_pipeline.cli.stage import inputs_of, run_stage
from mer_pipeline.clips import Clip
from mer_pipeline.enrich import replies
from mer_pipeline.enrich.ask import clear_kept, open_journal
from mer_pipeline.enrich.backend import LanguageModelParams, make_backend
from mer_pipeline.enrich.journal import Journal
from mer_pipeline.enrich.ledger import Ledger
from mer_pipeline.enrich.prompt import RenderPrompt
from mer_pipeline.errors import StageError
from mer_pipeline.project import Project
from mer_pipeline.runtime import Runtime, load_runtime
from mer_pipeline.store.row_cache import row_cache_of
from mer_pipeline.tables.quarantine import QualityParams, write_problems
from mer_pipeline.tables.rows import stage_schema
from mer_pipeline.tables.shards import ShardParams, new_folder, write_shard
from mer_pipeline.transform import Transform

# What passes from prepare to infer is each one's own affair (as in encoder.py).
AnyReplier: TypeAlias = Transform[object]

MISSING = Project().state / "no-reply.txt"
NAMED = 20  # clips in an error; all of them are in MISSING


def ask_all(
    params: LanguageModelParams, classes: tuple[str, ...], shards: ShardParams, quality: QualityParams
) -> list[str]:
    """Write the tables of prompts and replies; a line for each.

    Raises:
        StageError: `enrich.offline` and a reply is not known, or the server stopped answering.
        UsageError: there is no server, or it does not let us in.
    """
    lines = [run_stage(RenderPrompt(params, classes), "prompts", shards, quality)]
    runtime, journal, ledger = load_runtime(), open_journal(), Ledger()
    transform = replier(params, classes, runtime, journal, ledger)
    if params.offline:
        _refuse_misses(transform, shards, runtime, journal)
    lines.append(run_stage(transform, "replies", shards, quality))
    if runtime.store_url is not None:  # else nobody else has them
        clear_kept(journal, Project().table("replies"))
    return [*lines, *([str(ledger)] if ledger.requests else [])]


def replier(
    params: LanguageModelParams,
    classes: tuple[str, ...],
    runtime: Runtime,
    journal: Journal | None = None,
    ledger: Ledger | None = None,
) -> AnyReplier:
    """The transform that asks, by `enrich.backend`.

    Raises:
        CheckpointError: a local checkpoint is missing or unfit.
    """
    made = make_backend(params).replier(classes, runtime.llm, journal, ledger)
    assert made is not None
    return made


def no_replies(shards: ShardParams) -> None:
    """Write the tables of a model that was not asked: DVC wants to see all outputs of a stage."""
    for transform, schema in (("prompts", RenderPrompt.schema), ("replies", replies.SCHEMA)):
        with new_folder(Project().table(transform)) as folder:
            for shard in range(shards.count):
                write_shard(folder, shard, [], stage_schema(schema), {"transform": transform, "shard": str(shard)})
        write_problems(Project().quarantine(transform), [])


def unknown(transform: AnyReplier, shards: ShardParams, runtime: Runtime, journal: Journal) -> Iterator[Clip]:
    """The clips that somebody would have to be asked about."""
    inputs, cache, params = inputs_of(transform, shards.count), row_cache_of(transform, runtime), transform.params
    assert isinstance(params, replies.Sampling)
    for shard in range(shards.count):
        keys = inputs.keys(shard)
        known = cache.knows(keys.input_digests)
        wanted = {clip_id for clip_id, is_known in zip(keys.clip_ids, known, strict=True) if not is_known}
        for clip in inputs.clips(keys, wanted):
            prompt = clip.maybe("prompts")
            if prompt is not None and replies.asked(prompt, params) not in journal:
                yield clip


def _refuse_misses(transform: AnyReplier, shards: ShardParams, runtime: Runtime, journal: Journal) -> None:
    missing = sorted(unknown(transform, shards, runtime, journal), key=lambda clip: clip.clip_id)
    if not missing:
        return
    atomic_write(MISSING, "".join(f"{clip.clip_id}\n" for clip in missing))
    names = ", ".join(clip.clip_id for clip in missing[:NAMED])
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    raise StageError(
        f"enrich.offline is on and no reply is known for {len(missing)} clips: {names}{more} (all: {MISSING}); "
        "set it to false to ask for them, or MER_STORE to the store that has them"
    )
