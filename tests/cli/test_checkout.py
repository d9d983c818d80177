"""A project's rows are computed by its own code."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.forks import python

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = {
    "stage": ("stages/audio.py",),
    "training": ("stages/train.py",),
    "verify": ("-P", "-m", "mer_pipeline.cli.main", "verify"),
    "plan": ("-P", "-m", "mer_pipeline.cli.main", "plan"),
    "explain": ("-P", "-m", "mer_pipeline.cli.main", "explain", "frames", "x"),
    "retry": ("-P", "-m", "mer_pipeline.cli.main", "quarantine", "retry", "frames"),
    "forget": ("-P", "-m", "mer_pipeline.cli.main", "store", "forget", "frames"),
}


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders of this project's code."""
    made = []
    for name in ("one", "two"):
        folder = tmp_path_factory.mktemp(name)
        for part in ("mer_pipeline", "stages"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "dvc.yaml", folder)
        made.append(folder)
    return made[0], made[1]


def said(folder: Path, *words: str, code: Path) -> str:
    """What a command in a folder writes to standard error, where Python finds `mer_pipeline` in another."""
    env = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run([python(), *words], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode, done.stdout
    return done.stderr


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_the_code_of_another_clone_is_refused(clones: tuple[Path, Path], words: tuple[str, ...]) -> None:
    """Before anything else is looked at, with both places and what to do; the project's own goes on to the params."""
    one, two = clones
    refused = said(two, *words, code=one)
    assert refused.splitlines() == [
        f"error: mer_pipeline was imported from {one}/mer_pipeline, and the code of this project is "
        f"{two}/mer_pipeline: run `make setup` here and use this folder's .venv/bin, or set PYTHONPATH={two}"
    ]
    assert "was imported from" not in said(two, *words, code=two)


def test_an_installed_package_serves_folders_without_code(clones: tuple[Path, Path], tmp_path: Path) -> None:
    """A project that is only params and data has no code of its own; and a folder by another name is none."""
    one, _ = clones
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    assert "params.yaml" in said(tmp_path, "stages/audio.py", code=one)


def test_a_link_to_the_code_is_the_code(clones: tuple[Path, Path], tmp_path: Path) -> None:
    """What counts is the folder and not the path to it."""
    one, _ = clones
    (tmp_path / "link").symlink_to(one)
    assert "was imported from" not in said(one, "stages/audio.py", code=tmp_path / "link")
