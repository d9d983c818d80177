"""The command `mer models fetch`: say which checkpoints are missing, get them, and lock them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.cli.units import size_text
from mer_pipeline.config.project import MODELS
from mer_pipeline.models.bundle import copy_whole, take_all
from mer_pipeline.models.checkpoint import can_be_fetched, folder_of, resolve
from mer_pipeline.models.fetch import Plan, Plans, is_present, make_all, plan_all
from mer_pipeline.models.hub import Hub, Tell
from mer_pipeline.models.lock import LOCK, Checkpoints, lock_fetched, locked_commits


def fetch(checkpoints: Checkpoints, hub: Hub, *, dry_run: bool = False) -> str:
    """Make the folders of all checkpoints below models/ that can be had, write models.lock, and return the last line.

    Args:
        checkpoints: from params.yaml.
        hub: where they are from.
        dry_run: only say what would be done.

    Raises:
        CheckpointError: some cannot be had; the others are there.
        DownloadError: the hub cannot be reached or sends wrong bytes; what is finished is kept.
    """
    plans = plan_all(checkpoints.values(), hub, MODELS, locked_commits())
    print(plan_text(plans, checkpoints), flush=True)
    if dry_run:
        _raise(plans.problems)
        return "nothing was downloaded (--dry-run)"
    return _finish(checkpoints, [*plans.problems, *_make(plans.todo, hub, MODELS)])


def fetch_to(checkpoints: Checkpoints, hub: Hub, bundle: Path, *, dry_run: bool = False) -> str:
    """Write a bundle: a folder with all checkpoints that can be carried to a machine without network.

    What is below models/ as it was fetched is copied from there. `dir:` checkpoints are the user's to carry.

    Args:
        checkpoints, hub, dry_run: as in `fetch`.
        bundle: the folder.

    Raises:
        CheckpointError, DownloadError: as in `fetch`.
    """
    specs = list(dict.fromkeys(filter(can_be_fetched, checkpoints.values())))
    commits = locked_commits()
    if not dry_run:
        bundle.mkdir(parents=True, exist_ok=True)
        for spec in specs:
            here = folder_of(spec)
            if not folder_of(spec, bundle).exists() and here.exists() and is_present(spec, MODELS, commits.get(spec)):
                _copy(here, folder_of(spec, bundle))
    plans = plan_all(specs, hub, bundle, commits)
    print(plan_text(plans, checkpoints), flush=True)
    _raise([*plans.problems, *([] if dry_run else _make(plans.todo, hub, bundle))])
    own = [spec for spec in checkpoints.values() if not can_be_fetched(spec)]
    also = f"; carry {', '.join(own)} yourself" if own else ""
    if dry_run:
        return "nothing was downloaded (--dry-run)"
    return f"{bundle} is whole: carry it, and run `mer models fetch --from` there{also}"


def fetch_from(checkpoints: Checkpoints, bundle: Path) -> str:
    """Copy the checkpoints that are missing from a bundle, write models.lock, and return the last line.

    Raises:
        CheckpointError: some are not in the bundle, or not as they were fetched.
    """
    take_all(checkpoints.values(), bundle, lambda line: print(line, flush=True))
    return _finish(checkpoints, ())


def plan_text(plans: Plans, checkpoints: Checkpoints) -> str:
    """Return the lines that say which checkpoints are there, missing, or not to be had."""
    users: dict[str, list[str]] = {}
    for name, spec in checkpoints.items():
        users.setdefault(spec, []).append(name)
    lines = [f"there     {spec}" for spec in plans.present]
    for plan in plans.todo:
        lines += [f"missing   {plan.spec}, for {', '.join(users.get(plan.spec, []))}", *_detail(plan)]
    lines += [f"problem   {problem}" for problem in plans.problems]
    if plans.todo:
        whole, left = sum(plan.wanted.size for plan in plans.todo), sum(plan.bytes_missing for plan in plans.todo)
        kept = f"; {size_text(whole - left)} are kept from an earlier run" if left < whole else ""
        lines.append(f"{size_text(left)} to download for {len(plans.todo)} checkpoints{kept}")
    return "\n".join(lines) or "params.yaml names no checkpoints"


def _detail(plan: Plan) -> Iterator[str]:
    repository, gap = plan.repository, " " * 10
    licence = f"licence {repository.licence}" if repository.licence else "no licence stated"
    access = "gated, access granted" if repository.gated else "open to all"
    size = f"{size_text(plan.wanted.size)} in {len(plan.wanted.files)} files of {len(repository.files)}"
    yield f"{gap}{repository.name} at {repository.commit[:12]}: {size}, {licence}, {access}"
    for old, new in plan.wanted.converted.items():
        yield f"{gap}{old} is {'YAML' if old.endswith('.yaml') else 'pickled'}, and is converted to {new}"
    unknown = [file.name for file in plan.wanted.files if file.sha256 is None and file.git is None]
    for name in unknown:
        yield f"{gap}nobody states a hash of {name}: {LOCK} keeps that of the first download"


def _make(todo: Sequence[Plan], hub: Hub, models: Path) -> list[str]:
    with _bar(sum(plan.bytes_missing for plan in todo)) as (tell, say):
        return make_all(todo, hub, tell, say, models)


def _finish(checkpoints: Checkpoints, problems: Sequence[str]) -> str:
    locked = lock_fetched(checkpoints)
    unfit = []
    for name, spec in checkpoints.items():
        if name not in locked and not any(spec in problem for problem in problems):
            try:
                resolve(spec)
            except CheckpointError as error:
                unfit.append(str(error))
    _raise([*problems, *dict.fromkeys(unfit)])
    return f"{LOCK}: {', '.join(locked)}" if locked else f"{LOCK}: no checkpoints"


def _copy(here: Path, there: Path) -> None:
    copy_whole(here, there)
    print(f"{there} is copied from {here}", flush=True)


def _raise(problems: Sequence[str]) -> None:
    if problems:
        raise CheckpointError("; ".join(problems))


@contextmanager
def _bar(total: int) -> Iterator[tuple[Tell, Callable[[str], None]]]:
    """Print lines; in a terminal also show a bar of bytes with rate and remaining time."""
    if not sys.stderr.isatty():
        yield lambda count: None, lambda line: print(line, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count), bar.console.print
