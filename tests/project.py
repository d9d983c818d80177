"""A copy of the project in a folder of its own, run as a user runs it: with DVC. Benchmarks use it too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.forks import tools

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ("data/demo", '"data/demo', "dvc.lock", "metrics/", "plots/")


def copy_project(folder: Path) -> Path:
    """The files that git knows or would take, without the demo's clips and without what a run made."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed:
        source = ROOT / name.strip('"')
        if source.is_file() and not name.startswith(RESULTS):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def command(
    project: Path, *words: str, forked: bool = True, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`python WORDS`, `dvc WORDS` or another command there, with the project's own code.

    Args:
        project: the folder.
        words: of the command.
        forked: as forks of one process (tests/forks.py), and not as processes that import everything anew.
        env: more variables.
    """
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    found = os.pathsep.join([str(tools()), *places] if forked else places)
    variables = {"PATH": found, "PYTHONPATH": str(project), "DVC_NO_ANALYTICS": "1", **(env or {})}
    # The shell looks for the command in that PATH; subprocess would in this process's.
    line = ["sh", "-c", 'exec "$@"', "sh", *words]
    return subprocess.run(line, cwd=project, env={**os.environ, **variables}, capture_output=True, text=True)


def dvc(project: Path, *words: str, forked: bool = True) -> subprocess.CompletedProcess[str]:
    """`dvc WORDS` there."""
    return command(project, "dvc", *words, forked=forked)


def mer(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`mer WORDS` there."""
    return command(project, "python", "-m", "mer_pipeline.cli.main", *words)


def repro(project: Path, *words: str, forked: bool = True) -> list[str]:
    """Run it; the names of the stages that were run."""
    done = dvc(project, "repro", *words, forked=forked)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"Running stage '([^']+)'", done.stdout)
