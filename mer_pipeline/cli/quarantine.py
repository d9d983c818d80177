"""The command `mer quarantine list | retry`: list the clips that failed in stages, and try them again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import StageError, UsageError, did_you_mean
from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import find_step
from mer_pipeline.stage.checkout import check_code
from mer_pipeline.stage.logs import LOGS
from mer_pipeline.store.row_cache import row_cache_of


def problems(stage: str | None = None) -> list[Row]:
    """Read the quarantine: the rows of `PROBLEM_SCHEMA`, each with the name of its stage in addition.

    Args:
        stage: the stage, encoder or judge; None: all.

    Raises:
        UsageError: the stage has no quarantine table, or nothing was run yet.
    """
    folder = Project().quarantine_folder
    files = {path.stem: path for path in sorted(folder.glob("*.parquet"))}
    if not files:
        raise UsageError(f"{folder} is empty; run `dvc repro` first")
    if stage is not None:
        name = stage.replace("@", "-")
        name = next((full for full in (name, f"embed-{name}", f"vote-{name}") if full in files), name)
        if name not in files:
            raise UsageError(f"no quarantine of '{stage}'{did_you_mean(stage, files)}")
        files = {name: files[name]}
    return [{"stage": name, **row} for name, path in files.items() for row in pq.read_table(path).to_pylist()]


def list_text(rows: Iterable[Row]) -> str:
    """Return a text with one line per clip, and what can be done."""
    rows = list(rows)
    lines = [
        f"{row['stage']:<16} {row['clip_id']:<24} {row['error']:<14} {row['message']}"
        + (f" (a bug; traceback: {LOGS})" if row.get("traceback") else "")
        for row in rows
    ]
    if not lines:
        return "The quarantine is empty: every stage could do every clip."
    remedies = []
    if any(row["stage"] == "ingest" for row in rows):
        remedies.append("mend what ingest names in the files or the CSVs, then run `dvc repro`")
    if any(row["stage"] != "ingest" for row in rows):
        remedies.append("`mer quarantine retry STAGE` tries a stage's clips again")
    return "\n".join([*lines, f"{len(lines)} in all; {'; '.join(remedies)}"])


def retry(stage: str, clip_ids: Iterable[str]) -> str:
    """Forget that clips are broken, and run the stage again.

    Args:
        stage: the stage, encoder or judge.
        clip_ids: the clips; none: all clips in the stage's quarantine.

    Returns:
        One line that says how many clips succeeded.

    Raises:
        UsageError: there is no such stage, a clip is not in its quarantine, or the code is not the project's.
        StageError: the stage failed.
    """
    check_code(Project().root)
    step = find_step(stage)
    rows = {str(row["clip_id"]): str(row["input_digest"]) for row in problems(step.name)}
    wanted = list(clip_ids) or list(rows)
    for clip_id in wanted:
        if clip_id not in rows:
            raise UsageError(f"'{clip_id}' is not in the quarantine of {step.name}{did_you_mean(clip_id, rows)}")
    cache = row_cache_of(step.make(), load_runtime())
    forgotten = cache.forget_problems(rows[clip_id] for clip_id in wanted)
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", step.stage]
    if subprocess.run(command, check=False).returncode:
        raise StageError(f"{step.stage} failed again; see above")
    left = {str(row["clip_id"]) for row in problems(step.name)}
    mended = len(set(wanted) - left)
    return (
        f"{step.name}: {len(wanted)} tried again ({forgotten} were known to be broken), {mended} now done, "
        f"{len(wanted) - mended} still fail" + ("; `dvc repro` carries the change on" if mended else "")
    )
