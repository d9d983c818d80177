"""The command `mer explain STAGE CLIP`: explain why a row is re-used or computed.

It shows the row's input digest, the parts of the fingerprint, and which of them changed.
"""

from __future__ import annotations

from pathlib import Path

from mer_pipeline.base.errors import UsageError, did_you_mean
from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import AnyTransform, Step, find_step, inputs_of
from mer_pipeline.stage.checkout import check_code
from mer_pipeline.store.fingerprint import changed_parts
from mer_pipeline.store.row_cache import RowCache, row_cache_of
from mer_pipeline.tables.shards import read_shard, shard_of

SHOWN = 16  # number of digits of a digest that are shown


def explain(stage: str, clip_id: str, *, every_part: bool = False) -> str:
    """Return lines with a row's input digest and fingerprint, and how they differ from the last stored ones.

    Args:
        stage: the stage, in a form that `find_step` accepts.
        clip_id: the clip's name.
        every_part: whether to list every definition in the code; else only their number is shown.

    Raises:
        UsageError: there is no such stage or clip, or the imported code is not the project's.
    """
    check_code(Path())
    params = load_params()
    step = find_step(stage, params)
    transform = step.make()
    key = input_digest_of(transform, clip_id, params.shards.count)
    cache = row_cache_of(transform, load_runtime())
    lines = [f"{step.name} of '{clip_id}'", _state(cache, key)]
    lines.append(f"input        {key}{_input_note(step, clip_id, key, params.shards.count)}")
    lines.append(f"fingerprint  {cache.fingerprint.id}")
    before = cache.stored_parts()
    changed = {} if before is None else changed_parts(before, cache.fingerprint.parts)
    if before is None:
        lines.append("no row of this stage was ever kept in this store")
    elif changed:
        lines.append("changed since the rows that were last kept:")
        lines += [f"  {name}: {_short(old)} → {_short(new)}" for name, (old, new) in changed.items()]
    lines += _parts(cache.fingerprint.parts, every_part=every_part)
    return "\n".join(lines)


def input_digest_of(transform: AnyTransform, clip_id: str, shards: int) -> str:
    """Return a clip's input digest for a transform.

    Args:
        transform: the transform.
        clip_id: the clip's name.
        shards: the number of shards of the transform's table.

    Raises:
        UsageError: there is no such clip.
    """
    keys = inputs_of(transform, Project(), shards).keys(shard_of(clip_id, shards))
    if clip_id not in keys.clip_ids:
        every = inputs_of(transform, Project(), shards)
        known = [name for shard in range(shards) for name in every.keys(shard).clip_ids]
        hint = did_you_mean(clip_id, known)
        raise UsageError(f"{transform.name} has no clip '{clip_id}'{hint if 'did you mean' in hint else ''}")
    return keys.input_digests[keys.clip_ids.index(clip_id)]


def _state(cache: RowCache, key: str) -> str:
    if (problem := cache.problem(key)) is not None:
        return f"known to be broken: {problem[1]} (`mer quarantine retry` forgets that)"
    if cache.knows([key])[0]:
        return "in the store: it would be re-used"
    return "not in the store: it would be computed" if cache.has_store else "there is no store: it would be computed"


def _input_note(step: Step, clip_id: str, key: str, shards: int) -> str:
    folder = Project().table(step.table)
    if not folder.exists():
        return ""
    table = read_shard(folder, shard_of(clip_id, shards), shards, ["clip_id", "input_digest"])
    rows = dict(zip(table["clip_id"].to_pylist(), table["input_digest"].to_pylist(), strict=True))
    if clip_id not in rows:
        return f" (no row in {folder})"
    return f" (as in {folder})" if rows[clip_id] == key else f" (changed; {folder} has {rows[clip_id]})"


def _parts(parts: dict[str, str] | object, *, every_part: bool) -> list[str]:
    assert isinstance(parts, dict)
    code = [name for name in parts if name.startswith("code.")]
    lines = ["parts:"]
    lines += [f"  {name}: {_short(value)}" for name, value in parts.items() if every_part or name not in code]
    if not every_part:
        lines.append(f"  code: {len(code)} definitions (--all lists them)")
    return lines


def _short(value: str | None) -> str:
    if value is None:
        return "-"
    is_digest = len(value) >= 32 and all(digit in "0123456789abcdef" for digit in value)
    return value[:SHOWN] if is_digest else value.replace("\n", "; ")
