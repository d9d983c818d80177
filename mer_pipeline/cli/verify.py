"""The command `mer verify`: compute a random sample of rows of every stage again, and compare them with data/."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import StageError
from mer_pipeline.base.runtime import Runtime, load_runtime
from mer_pipeline.cli.diff import detail_lines
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import AnyTransform, Step, find_step, inputs_of, steps
from mer_pipeline.engines.local import LocalEngine
from mer_pipeline.stage.checkout import check_code
from mer_pipeline.stage.progress import progress_bar
from mer_pipeline.store.inputs import Inputs
from mer_pipeline.tables.compare import compare_tables
from mer_pipeline.tables.parts import ParquetSide, Part
from mer_pipeline.tables.rows import stage_schema, to_table
from mer_pipeline.tables.shards import read_shard, table_bytes

# The values themselves are compared, because a digest in the table says only what the values were when it was made.
DIGESTS = ["digest", "input_digest"]


def verify(stages: Sequence[str], sample: int, seed: int, tolerance: float) -> int:
    """Check stages, and print the result of each.

    Args:
        stages: the stages, in a form that `find_step` accepts; none: all.
        sample: the number of rows of each stage.
        seed: the seed of the random sample.
        tolerance: the relative and absolute tolerance, as in numpy.allclose.

    Returns:
        The exit code: 1 if anything differs, else 0.

    Raises:
        StageError: there is nothing to check.
        UsageError: there is no such stage, or the imported code is not the project's.
    """
    check_code(Path())
    params, runtime = load_params(), load_runtime()
    chosen = [find_step(name, params) for name in stages] or steps(params)
    ready = [step for step in chosen if Project().table(step.table).exists() and not step.external_response]
    if all(step.external_response for step in chosen):
        raise StageError("replies are external responses and are not asked for again; `mer enrich show CLIP` shows one")
    if not ready:
        raise StageError("data/ has no rows yet; run `dvc repro` first")
    failed = 0
    for step in ready:
        wrong, differences = _verify_step(step, params.shards.count, runtime, sample, seed, tolerance)
        wrong += differences
        failed += bool(wrong)
        print(f"{step.name}: " + (f"{len(wrong)} lines of differences" if wrong else "as computed again"))
        for line in wrong:
            print(f"  {line}")
        if differences:
            print(f"  `mer store forget {step.name}` has its rows computed again; with names of clips, only theirs")
    if failed:
        print(f"{failed} of {len(ready)} stages differ from what they would be now", file=sys.stderr)
    return int(failed > 0)


def _verify_step(
    step: Step, shards: int, runtime: Runtime, sample: int, seed: int, tolerance: float
) -> tuple[list[str], list[str]]:
    """Return lines about rows that cannot be compared, and lines about differences."""
    transform = step.make()
    inputs = inputs_of(transform, Project(), shards)
    chosen = _choose(step, shards, sample, seed)
    wanted = {clip_id for _, clip_id in chosen}
    folder = Project().table(step.table)
    stored = {shard: _only(read_shard(folder, shard, shards), wanted) for shard in sorted({b for b, _ in chosen})}
    stale = sorted(_stale(inputs, stored, wanted))
    wrong = [f"'{clip_id}' was made from other inputs; run `dvc repro`" for clip_id in stale]
    wanted -= set(stale)
    rows, failures = _again(transform, _clips(inputs, stored, wanted), runtime, len(wanted))
    wrong += failures
    before = pa.concat_tables(stored.values()).drop_columns(DIGESTS) if stored else None
    if before is None or not rows.num_rows:
        return wrong, []
    kept = _only(before, set(rows["clip_id"].to_pylist()))
    sides = [ParquetSide([_part(name, table)]) for name, table in (("data", kept), ("again", rows))]
    diff = compare_tables(step.table, sides[0], sides[1], tolerance)
    return wrong, detail_lines(diff) if diff.differs else []


def _only(table: pa.Table, wanted: set[str]) -> pa.Table:
    return table.filter(pc.is_in(table["clip_id"], pa.array(sorted(wanted), pa.string())))


def _choose(step: Step, shards: int, sample: int, seed: int) -> list[tuple[int, str]]:
    """Return a random sample of a stage's rows, as pairs of shard and clip."""
    every = [
        (shard, clip_id)
        for shard in range(shards)
        for clip_id in read_shard(Project().table(step.table), shard, shards, ["clip_id"])["clip_id"].to_pylist()
    ]
    return random.Random(seed).sample(every, min(sample, len(every)))


def _stale(inputs: Inputs, stored: dict[int, pa.Table], wanted: set[str]) -> Iterator[str]:
    for shard, table in stored.items():
        keys = inputs.keys(shard)
        now = dict(zip(keys.clip_ids, keys.input_digests, strict=True))
        for clip_id, key in zip(table["clip_id"].to_pylist(), table["input_digest"].to_pylist(), strict=True):
            if clip_id in wanted and now.get(clip_id) != key:
                yield clip_id


def _clips(inputs: Inputs, stored: dict[int, pa.Table], wanted: set[str]) -> Iterator[Clip]:
    for shard in stored:
        yield from inputs.clips(inputs.keys(shard), wanted)


def _again(transform: AnyTransform, clips: Iterator[Clip], runtime: Runtime, count: int) -> tuple[pa.Table, list[str]]:
    rows, failures = [], []
    tell, done = progress_bar(f"verify {transform.name}"), 0
    engine = LocalEngine(transform, runtime)
    engine.set_up()
    try:
        for outcomes in engine.outcomes(clips):
            for outcome in outcomes:
                if outcome.row is not None:
                    rows.append(outcome.row)
                elif (failure := outcome.failed) is not None:
                    where = f" ({failure.error} at {failure.place}, a bug)" if failure.is_bug else ""
                    failures.append(f"'{outcome.clip_id}' fails when it is computed again: {failure.message}{where}")
            done += len(outcomes)
            tell(done, count)
    finally:
        engine.stop()
    return to_table(rows, stage_schema(transform.schema)).drop_columns(DIGESTS), failures


def _part(name: str, table: pa.Table) -> Part:
    return Part(name, partial(io.BytesIO, table_bytes(table)))
