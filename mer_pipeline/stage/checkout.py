"""A project whose folder has a `mer_pipeline/` of its own is computed by that one, and by no other.

Clones and worktrees may share an environment, whose `mer_pipeline` is one clone's. A stage of another clone would
compute rows by that code and record them under its own `dvc.lock`. A project folder without a `mer_pipeline/` beside
its `dvc.yaml` is computed by whichever package is installed.
"""

from __future__ import annotations

from pathlib import Path

import mer_pipeline
from mer_pipeline.base.errors import UsageError


def check_code(root: Path) -> None:
    """Make sure that the imported package is the project's own, where the project has one.

    Args:
        root: the folder of `dvc.yaml`.

    Raises:
        UsageError: another one was imported.
    """
    own, imported = root.absolute() / "mer_pipeline", Path(mer_pipeline.__file__).parent
    if not ((root / "dvc.yaml").is_file() and (own / "__init__.py").is_file()) or own.samefile(imported):
        return
    raise UsageError(
        f"mer_pipeline was imported from {imported}, and the code of this project is {own}: run `make setup` here and "
        f"use this folder's .venv/bin, or set PYTHONPATH={own.parent}"
    )
