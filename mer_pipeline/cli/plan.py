"""The command `mer plan`: show what `dvc repro` would do.

DVC says which stages are stale. For these, the input digests of all clips are computed and looked up in the store, one
table after the other. A stage whose inputs are not made yet is planned from the rows of these inputs that are known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.errors import MerError
from mer_pipeline.base.runs import Summary, read_run
from mer_pipeline.base.runtime import Runtime, load_runtime
from mer_pipeline.base.transform import Source
from mer_pipeline.cli.stale import ask_dvc
from mer_pipeline.cli.units import duration_text, size_text
from mer_pipeline.config.params import Params, load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import Step, steps
from mer_pipeline.datasets.ingest import Ahead, look_ahead
from mer_pipeline.enrich.backend import EnrichParams
from mer_pipeline.enrich.context import context_of
from mer_pipeline.stage.checkout import check_code
from mer_pipeline.store.fingerprint import changed_parts
from mer_pipeline.store.inputs import Parts, input_digests, is_one_table, read_file, read_source, table_parts
from mer_pipeline.store.root import free_bytes
from mer_pipeline.store.row_cache import row_cache_of
from mer_pipeline.tables.rows import Encoded, encode
from mer_pipeline.tables.shards import read_folder, shard_name
from mer_pipeline.tables.transcript import with_heard

UNKNOWN = Encoded(b"?")  # stands for the row digest of a clip whose row is not computed yet


@dataclass
class StagePlan:
    """What `dvc repro` would do with one stage.

    Attributes:
        name: the DVC name of the stage.
        reasons: why the stage would run; empty if it would not.
        clips: the number of clips, summed over the stage's transforms.
        hits: the number of rows that the store has.
        misses: the number of rows that would be computed.
        follows: the number of misses whose inputs are not computed yet.
        why: why rows would be computed.
        seconds: the time, estimated from the last run; None if it is not known.
        bytes: the estimated size of the rows to be written.
        unseen: changes that DVC does not notice.
    """

    name: str
    reasons: list[str] = field(default_factory=list)
    clips: int = 0
    hits: int = 0
    misses: int = 0
    follows: int = 0
    why: str = ""
    seconds: float | None = 0.0
    bytes: float = 0.0
    unseen: list[str] = field(default_factory=list)


def make_plan(project: Project) -> list[StagePlan]:
    """Plan every stage, in the order in which `dvc repro` runs them.

    Raises:
        StageError: DVC reports an error.
        UsageError: params.yaml is wrong, or the imported code is not the project's.
    """
    check_code(project.root)
    params, runtime = load_params(), load_runtime()
    from mer_pipeline.heads.make import check_heads  # imported here because it imports torch

    check_heads(params.train, params.heads_elsewhere, params.dataset.target)
    stages = ask_dvc(project)
    tables: dict[str, Parts | None] = {}
    ahead = None
    plans: dict[str, StagePlan] = {}
    for name in stages.order:
        plan = plans[name] = StagePlan(name, list(stages.reasons.get(name, [])))
        waits_for = [other for other in stages.upstream[name] if plans[other].reasons]
        if waits_for:
            shown = waits_for if len(waits_for) <= 3 else [*waits_for[:2], f"{len(waits_for) - 2} more"]
            plan.reasons.append(f"after {', '.join(shown)}")
        if name == "ingest" and plan.reasons:
            ahead = _look_ahead(plan, params)
        own = [step for step in steps(params) if step.stage == name]
        if name == "transcribe" and plan.reasons and not own:
            tables["heard"] = {}
        for step in own if plan.reasons else ():
            _look_up(step, plan, tables, runtime, ahead, params.enrich)
        if not plan.reasons:
            plan.unseen = [note for step in own if (note := _unseen(step, runtime))]
        if plan.reasons and not own:
            last = read_run(f"stage-{name}")
            plan.seconds = None if last is None else last.seconds
    return list(plans.values())


def _look_ahead(plan: StagePlan, params: Params) -> Ahead | None:
    """Return what the stage `ingest` would write. New and changed files are found by their sizes and times."""
    try:
        ahead = look_ahead(params.dataset)
    except MerError as error:
        plan.why = str(error)
        return None
    plan.clips, plan.misses = len(ahead.manifest), len(ahead.unread)
    plan.hits = plan.clips - plan.misses
    plan.why = "new or altered files"
    return ahead


def _look_up(
    step: Step,
    plan: StagePlan,
    tables: dict[str, Parts | None],
    runtime: Runtime,
    ahead: Ahead | None,
    enrich: EnrichParams,
) -> None:
    """Count the hits and misses of one step, and record in `tables` what is known of the table that it would write."""
    try:
        transform = step.make()
        parts = {source.table: _table(source, tables, ahead, enrich) for source in transform.sources}
        cache = row_cache_of(transform, runtime)
    except (MerError, OSError) as error:
        plan.why, plan.seconds = str(error), None
        tables[step.table] = None
        return
    first = parts[transform.sources[0].table]
    if first is None or any(table is None for table in parts.values()):
        missing = [name for name, table in parts.items() if table is None]
        plan.why, plan.seconds = f"unknown until {', '.join(missing)} is made", None
        tables[step.table] = None
        return
    known_parts = {name: table for name, table in parts.items() if table is not None}
    clip_ids = list(first)
    keys = input_digests(clip_ids, known_parts)
    open_ = {clip_id for table in known_parts.values() for clip_id, part in table.items() if part is UNKNOWN}
    row_parts: dict[str, Encoded] = {}
    misses = follows = 0
    for clip_id, key, row_digest in zip(clip_ids, keys, cache.digests(keys), strict=True):
        if row_digest is not None and clip_id not in open_:
            row_parts[clip_id] = Encoded(encode(row_digest))
        elif clip_id in open_ or cache.problem(key) is None:
            misses, follows = misses + 1, follows + (clip_id in open_)
            row_parts[clip_id] = UNKNOWN
    tables[step.table] = row_parts
    plan.clips, plan.hits = plan.clips + len(clip_ids), plan.hits + len(clip_ids) - misses
    plan.misses, plan.follows = plan.misses + misses, plan.follows + follows
    if misses:
        plan.why = plan.why or why_missing(cache.stored_parts(), cache.fingerprint.parts, misses, follows)
    _estimate(plan, read_run(step.name), misses, len(clip_ids))


def _unseen(step: Step, runtime: Runtime) -> str | None:
    """Return a note if the fingerprint of an up-to-date stage has changed, else None.

    Other weights or another version of a library change the fingerprint, and DVC does not notice that.
    """
    try:
        before = pq.read_schema(Project().table(step.table) / shard_name(0)).metadata or {}
        now = row_cache_of(step.make(), runtime).fingerprint.provenance()
    except (MerError, OSError, pa.ArrowException) as error:
        return f"{step.name}: {error}"
    if before.get(b"mer.fingerprint") == now["fingerprint"].encode():
        return None
    changed = changed_parts(json.loads(before.get(b"mer.parts", b"{}")), json.loads(now["parts"]))
    return f"{step.name} was made otherwise than now ({', '.join(changed)}), and DVC does not see that"


def why_missing(before: Mapping[str, str] | None, now: Mapping[str, str], misses: int, follows: int) -> str:
    """Return why rows are not in the store: which parts of the fingerprint changed, or that the clips are new.

    Args:
        before: the parts of the last stored fingerprint; None if there is none.
        now: the parts of the present fingerprint.
        misses: the number of rows that are not in the store.
        follows: the number of misses whose inputs are not computed yet.

    Example:
        >>> why_missing({"rows": "8"}, {"rows": "16"}, misses=5, follows=0)
        'changed: rows'
    """
    if follows == misses:
        return "their inputs are to be computed first"
    if before is None:
        return "never computed"
    changed = list(changed_parts(before, now))
    if not changed:
        return "new or altered clips"
    return f"changed: {', '.join(changed[:3])}{f' and {len(changed) - 3} more' if len(changed) > 3 else ''}"


def _table(source: Source, tables: dict[str, Parts | None], ahead: Ahead | None, enrich: EnrichParams) -> Parts | None:
    """Return what is known of a table, from the plan of an earlier stage or from data/; None if nothing is known."""
    name, columns = source.table, source.columns
    if ahead is not None and name == "clips":
        return table_parts(ahead.manifest, columns)
    if ahead is not None and name == "manifest":
        return {**table_parts(ahead.manifest, columns), **dict.fromkeys(ahead.unread, UNKNOWN)}
    if ahead is not None and name == "subtitles":
        return {clip_id: Encoded(encode(row["digest"])) for clip_id, row in ahead.subtitles.items()}
    if name == "transcript" and "heard" in tables:  # the stage that makes both is stale
        return transcript_parts(tables["heard"], ahead)
    place = Project().table(name)
    if name == "cue_words":
        context = _context(tables, ahead, enrich)
        return None if context is None else table_parts(context, columns)
    if place.exists() and is_one_table(source, place):  # each transform declares columns of its own
        return table_parts(read_source(source, place), columns)
    if name not in tables:
        tables[name] = table_parts(read_folder(place, ["clip_id", "digest"]), None) if place.exists() else None
    return tables[name]


def transcript_parts(heard: Parts | None, ahead: Ahead | None) -> Parts | None:
    """Return what is known of the table `transcript` as the stage would write it; None if nothing is known.

    Args:
        heard: what is known of the table `heard`; None if nothing is.
        ahead: what the stage `ingest` would write, if it is stale.
    """
    columns = ["clip_id", "digest", "text", "language", "valid", "reason"]
    places = Project().table("subtitles"), Project().table("heard")
    if heard is None or (ahead is None and not places[0].exists()):
        return None
    subtitles = ahead.subtitles.values() if ahead is not None else read_folder(places[0]).to_pylist()
    rows = read_folder(places[1], columns).to_pylist() if places[1].exists() else []
    found = {(row["clip_id"], Encoded(encode(row["digest"]))): row for row in rows}
    known: dict[str, Encoded] = {}
    for subtitle in subtitles:
        clip_id = str(subtitle["clip_id"])
        part = heard.get(clip_id)
        row = None if part is None else found.get((clip_id, part))
        is_known = subtitle["valid"] or part is None or row is not None
        known[clip_id] = Encoded(encode(with_heard(subtitle, row)["digest"])) if is_known else UNKNOWN
    return known


def _context(tables: Mapping[str, Parts | None], ahead: Ahead | None, enrich: EnrichParams) -> pa.Table | None:
    """Return the table of cue words and neighbours as the stage would write it; None if that is not known yet."""
    if any(part is UNKNOWN for part in (tables.get("cues") or {}).values()) or not Project().table("cues").exists():
        return None  # the cues of one clip may change the usual values of its whole group
    if "heard" in tables and enrich.reach:
        return None  # only the digest of a new transcript is known
    transcripts = (
        read_folder(Project().table("transcript"), ["clip_id", "zh", "en"]).to_pylist() if enrich.reach else []
    )
    columns = ["clip_id", "group", "order"]
    manifest = ahead.manifest.select(columns) if ahead is not None else read_file(Project().table("manifest"), columns)
    return context_of(read_folder(Project().table("cues")).to_pylist(), transcripts, manifest.to_pylist(), enrich)


def _estimate(plan: StagePlan, last: Summary | None, misses: int, clips: int) -> None:
    if misses and (last is None or not last.rate):
        plan.seconds = None
    elif misses and plan.seconds is not None and last is not None and last.rate:
        plan.seconds += misses / last.rate
    if last is not None and last.clips:
        each = last.bytes_out / last.clips
        # The rows are in the shards and in DVC's copy of them; new rows are in the store too.
        plan.bytes += each * (2 * clips + misses)


def plan_text(plans: Sequence[StagePlan]) -> str:
    """Return the plan as text."""
    todo = [plan for plan in plans if plan.reasons]
    unseen = [f"warning: {note}: `dvc repro --force {plan.name}`" for plan in plans for note in plan.unseen]
    if not todo:
        return "\n".join(["Nothing to do: every stage is up to date.", *unseen])
    width = max(len(plan.name) for plan in todo)
    lines = []
    for plan in todo:
        rows = f"{plan.hits} of {plan.clips} rows known" if plan.clips else ""
        compute = f", {plan.misses} to compute ({plan.why})" if plan.misses else plan.why
        time = "" if not plan.misses and plan.clips else f", {duration_text(plan.seconds)}"
        lines.append(f"{plan.name:<{width}}  {'; '.join(plan.reasons)}")
        lines.append(f"{'':<{width}}  → {rows}{compute}{time}".replace("→ , ", "→ "))
    quiet = len(plans) - len(todo)
    known = [plan.seconds for plan in todo if plan.seconds is not None]
    at_least = "at least " if len(known) < len(todo) else ""
    need, free = sum(plan.bytes for plan in todo), free_bytes(Project().data)
    lines += [
        f"{len(todo)} of {len(plans)} stages would run, {quiet} are up to date",
        f"computing takes {at_least}{duration_text(sum(known))} at the rates of the last runs",
        f"disk: about {size_text(need)} of {size_text(free)} that are free",
    ]
    lines += unseen
    if need > free:
        lines.append("warning: that is more than there is; `mer store gc` and `dvc gc` make space")
    return "\n".join(lines)
