"""Ask DVC about the stages: which are stale and why, in which order they run, and which stages each one reads from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mer_pipeline.base.errors import StageError
from mer_pipeline.config.project import Project


@dataclass(frozen=True)
class Stages:
    """All stages of a project, by their DVC names.

    Attributes:
        order: the stages in the order in which `dvc repro` runs them.
        upstream: for each stage, the stages whose outputs it reads.
        reasons: for each stale stage, the reasons why it is stale.
    """

    order: tuple[str, ...]
    upstream: dict[str, list[str]]
    reasons: dict[str, list[str]]


def ask_dvc(project: Project) -> Stages:
    """Return all stages of a project.

    Raises:
        StageError: another DVC command is at work in the project, or DVC reports an error.
    """
    import networkx
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    try:
        with Repo(str(project.root)) as repo:
            graph = repo.index.graph
            order = tuple(stage.addressing for stage in networkx.dfs_postorder_nodes(graph))
            upstream = {stage.addressing: [up.addressing for up in graph.successors(stage)] for stage in graph}
            status = repo.status()
    except LockError:
        raise StageError(
            "another DVC command is at work in this project, such as `dvc repro`; run this again when it has ended"
        ) from None
    except DvcException as error:
        raise StageError(f"DVC cannot say what is stale: {error}") from None
    return Stages(order, upstream, {name: _reasons(entries) for name, entries in status.items() if name in upstream})


def _reasons(entries: Sequence[object]) -> list[str]:
    """Return DVC's status of a stage as short reasons. All changed files of code are one reason."""
    reasons: list[str] = []
    code: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            reasons.append(entry)
            continue
        assert isinstance(entry, dict)
        for kind, changes in entry.items():
            for path, how in changes.items():
                if isinstance(how, dict):
                    reasons += [f"params {', '.join(how)}" if path == "params.yaml" else f"{path}: {', '.join(how)}"]
                elif str(path).endswith(".py"):
                    code.append(str(path).removeprefix("mer_pipeline/"))
                else:
                    reasons.append(f"{path} {how}" + (" (output)" if kind == "changed outs" else ""))
    if code:
        reasons.append(f"code: {', '.join(code[:3])}{f' and {len(code) - 3} more' if len(code) > 3 else ''}")
    return reasons
