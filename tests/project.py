"""A copy of the project in a folder of its own, run as a user runs it: with DVC. Benchmarks use it too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

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


def dvc(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`dvc WORDS` there."""
    bin_folder = Path(sys.executable).parent
    path = {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project),
        "DVC_NO_ANALYTICS": "1",
    }
    return subprocess.run(
        [bin_folder / "dvc", *words], cwd=project, env={**os.environ, **path}, capture_output=True, text=True
    )


def repro(project: Path, *words: str) -> list[str]:
    """Run it; the names of the stages that were run."""
    done = dvc(project, "repro", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"Running stage '([^']+)'", done.stdout)
