"""The command `mer compute`: compute a part of a step's missing rows into the store, on one of several machines.

Each machine takes other shards, so that no row is computed twice and every pack is a whole shard. `dvc repro` then
finds all rows and writes the table.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.run import compute
from mer_pipeline.base.runs import Progress, Summary, quiet
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.config.components import ENGINES
from mer_pipeline.config.params import Params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import checkpoints, find_step, inputs_of
from mer_pipeline.models.lock import check_locked
from mer_pipeline.stage.checkout import check_code
from mer_pipeline.store.row_cache import row_cache_of

PART = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)")


def shards_of(part: str, count: int) -> range:
    """Return the shards that a part has.

    Args:
        part: "K/N", the K-th of N parts.
        count: the number of all shards.

    Raises:
        UsageError: it is no part, or there are more parts than shards.

    Example:
        >>> list(shards_of("2/3", 8))
        [1, 4, 7]
    """
    match = PART.fullmatch(part)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(f"--part {part}: write K/N, such as 3/16 for the third of sixteen parts")
    if int(match[2]) > count:
        raise UsageError(f"--part {part}: there are only {count} shards to share out (shards.count in params.yaml)")
    return range(int(match[1]) - 1, count, int(match[2]))


def compute_part(
    name: str, part: str, params: Params, runtime: Runtime, project: Project, progress: Progress = quiet
) -> str:
    """Compute the missing rows of a part of a step's clips, and put them into the store.

    Args:
        name: the step, in a form that `find_step` accepts.
        part: "K/N", the K-th of N parts.
        params: the params of the project.
        runtime: the settings of this machine; it must have a store.
        project: the paths of the tables. Those that the step reads must be there.
        progress: called as clips are computed.

    Returns:
        One line that says what was done.

    Raises:
        UsageError: there is no such step or part, its rows are external responses, or there is no store.
        CheckpointError: a checkpoint is not the one in models.lock.
        Bug, StageError, StoreError: as in `run`. Rows that were stored before are kept.
    """
    check_code(Path())
    step = find_step(name, params)
    shards = shards_of(part, params.shards.count)
    if step.external_response:
        raise UsageError(f"{step.name}: replies are asked for by one machine, which knows what was paid; run the stage")
    if runtime.store_url is None:
        raise UsageError("there is no store to put rows into; set MER_STORE or [store] in .mer.toml")
    check_locked(checkpoints(params))
    transform = step.make()
    inputs = inputs_of(transform, project, params.shards.count)
    every = [inputs.keys(shard) for shard in shards]
    summary = Summary(transform.name, clips=sum(len(keys.clip_ids) for keys in every))
    cache = row_cache_of(transform, runtime, params.shards.count)
    with closing(transform):
        engine = ENGINES.load(runtime.engine)(transform, runtime, params.shards.count)
        done = compute(engine, cache, every, inputs.clips, summary=summary, progress=progress, first=runtime.batch)
        with closing(done):
            for _ in done:
                pass
    failed = sum(len(cache.failures(keys)) for keys in every)
    cache.close()
    told = f", {failed} of its clips failed" if failed else ""
    return (
        f"{step.name}: part {part} has {summary.clips} clips, {summary.computed} computed{told}; when all parts are "
        f"done, run `dvc repro {step.stage}`"
    )
