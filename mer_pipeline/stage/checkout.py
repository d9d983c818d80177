"""Check that a project with a `mer_pipeline/` of its own is computed by that package and no other.

Several clones or worktrees may share one Python environment, in which the `mer_pipeline` of one clone is installed. A
stage of another clone would then compute rows with the wrong code, and record them in its own `dvc.lock`. A project
without a `mer_pipeline/` beside its `dvc.yaml` uses the installed package.
"""

from __future__ import annotations

from pathlib import Path

import mer_pipeline
from mer_pipeline.base.errors import UsageError


def check_code(root: Path) -> None:
    """Make sure that the imported `mer_pipeline` is the project's own, if the project has one.

    Args:
        root: the folder with `dvc.yaml`.

    Raises:
        UsageError: another `mer_pipeline` was imported.
    """
    own, imported = root.absolute() / "mer_pipeline", Path(mer_pipeline.__file__).parent
    if not ((root / "dvc.yaml").is_file() and (own / "__init__.py").is_file()) or own.samefile(imported):
        return
    raise UsageError(
        f"mer_pipeline was imported from {imported}, and the code of this project is {own}: run `make setup` here and "
        f"use this folder's .venv/bin, or set PYTHONPATH={own.parent}"
    )
