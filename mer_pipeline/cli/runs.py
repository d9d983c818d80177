"""The command `mer runs`: show what the last run of each stage did, from `.mer/runs/`."""

from __future__ import annotations

from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.runs import RUNS, Summary, read_run
from mer_pipeline.cli.units import duration_text, size_text

HEADER = (
    f"{'stage':<16} {'clips':>7} {'new':>7} {'known':>7} {'without':>7} {'broken':>6} "
    f"{'time':>7} {'prepare':>8} {'infer':>8} {'wait':>8} {'write':>8} {'bytes':>9} {'clips/s':>8}"
)


def runs_text() -> str:
    """Return a table with one line per stage, and below it the reasons why clips have no row.

    The times of prepare and infer are summed over threads.

    Raises:
        UsageError: nothing was run yet.
    """
    names = sorted(path.stem for path in RUNS.glob("*.json"))
    found = [run for run in map(read_run, names) if run is not None]
    if not found:
        raise UsageError(f"{RUNS} is empty; run `dvc repro` first")
    lines = [HEADER, *map(_line, found)]
    for run in found:
        reasons = [
            *run.skipped.items(),
            *run.failed.items(),
            *((why, pack[:12]) for pack, why in run.set_aside.items()),
        ]
        if reasons:
            lines.append(f"{run.stage}: " + ", ".join(f"{count} {reason}" for reason, count in reasons))
    return "\n".join(lines)


def _line(run: Summary) -> str:
    if not run.clips:
        return f"{run.stage.removeprefix('stage-'):<16} {'':>39} {duration_text(run.seconds):>7}"
    spent = run.spent
    times = " ".join(f"{seconds:>6.1f} s" for seconds in (spent.prepare, spent.infer, spent.wait, spent.write))
    rate = "" if run.rate is None else f"{run.rate:.1f}"
    return (
        f"{run.stage:<16} {run.clips:>7} {run.computed:>7} {run.reused:>7} {run.skipped.total():>7} "
        f"{run.failed.total():>6} {duration_text(run.seconds):>7} {times} {size_text(run.bytes_out):>9} {rate:>8}"
    )
