"""Find the clips that a language model would have to be asked about: neither store nor journal has their reply."""

from __future__ import annotations

from collections.abc import Iterator

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import StageError
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.base.transform import Transform
from mer_pipeline.config.project import Project
from mer_pipeline.enrich import replies
from mer_pipeline.enrich.journal import Journal
from mer_pipeline.enrich.prompt import RenderPrompt
from mer_pipeline.store.inputs import Inputs
from mer_pipeline.store.row_cache import row_cache_of
from mer_pipeline.tables.quarantine import write_problems
from mer_pipeline.tables.rows import stage_schema
from mer_pipeline.tables.shards import ShardParams, write_no_rows

MISSING = Project().state / "no-reply.txt"
NAMED = 20  # number of clips that an error names; the file MISSING has all of them


def no_replies(project: Project, shards: ShardParams) -> None:
    """Write empty tables of prompts and replies, for a backend that asks no language model."""
    for transform, schema in (("prompts", RenderPrompt.schema), ("replies", replies.SCHEMA)):
        write_no_rows(project.table(transform), stage_schema(schema), shards)
        write_problems(project.quarantine(transform), [])


def unknown(transform: Transform[object], inputs: Inputs, runtime: Runtime, journal: Journal) -> Iterator[Clip]:
    """Find the clips whose reply neither the store nor the journal has.

    Args:
        transform: the transform from prompts to replies.
        inputs: its inputs.
        runtime: the settings of this machine, with the store.
        journal: the replies that no store has yet.
    """
    cache, params = row_cache_of(transform, runtime), transform.params
    assert isinstance(params, replies.Sampling)
    for shard in range(inputs.shards):
        keys = inputs.keys(shard)
        known = cache.knows(keys.input_digests)
        wanted = {clip_id for clip_id, is_known in zip(keys.clip_ids, known, strict=True) if not is_known}
        for clip in inputs.clips(keys, wanted):
            prompt = clip.maybe("prompts")
            if prompt is not None and replies.asked(prompt, params) not in journal:
                yield clip


def refuse_unknown(transform: Transform[object], inputs: Inputs, runtime: Runtime, journal: Journal) -> None:
    """Check that all replies are known, so that no language model has to be asked.

    Args:
        transform, inputs, runtime, journal: as for `unknown`.

    Raises:
        StageError: if a reply is not known. The names of all such clips are written to the file MISSING.
    """
    missing = sorted(unknown(transform, inputs, runtime, journal), key=lambda clip: clip.clip_id)
    if not missing:
        return
    atomic_write(MISSING, "".join(f"{clip.clip_id}\n" for clip in missing))
    names = ", ".join(clip.clip_id for clip in missing[:NAMED])
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    raise StageError(
        f"enrich.offline is on and no reply is known for {len(missing)} clips: {names}{more} (all: {MISSING}); "
        "set it to false to ask for them, or MER_STORE to the store that has them"
    )
