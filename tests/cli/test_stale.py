"""What DVC says of the stages, and what is said while it cannot be asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mer_pipeline.base.errors import StageError
from mer_pipeline.cli.stale import ask_dvc
from mer_pipeline.config.project import Project


def test_a_run_that_is_going_on_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another DVC command works on a file, no list of processes is shown, and no advice to delete its lock."""
    from dvc.fs import LocalFileSystem
    from dvc.rwlock import rwlock

    (tmp_path / "in.txt").write_text("a")
    (tmp_path / "dvc.yaml").write_text("stages:\n  copy: {cmd: cp in.txt out.txt, deps: [in.txt], outs: [out.txt]}\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    assert ask_dvc(project).order == ("copy",)
    files = LocalFileSystem()
    with (
        rwlock(str(tmp_path / ".dvc/tmp"), files, "dvc repro", [], [str(tmp_path / "out.txt")], False),
        pytest.raises(StageError, match=r"^another DVC command is at work in this project.* when it has ended$"),
    ):
        ask_dvc(project)
    assert ask_dvc(project).upstream == {"copy": []}
