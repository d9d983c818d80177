"""Make the folders of the checkpoints that params.yaml names: plan, download, convert, and lock.

    plan_all ──► Plan for each checkpoint that is missing ──► make ──► models/NAME/ ──► lock_fetched
                                                               │
                                     models/.fetch/NAME/ keeps finished files until the folder is whole

A folder appears under its own name when all its files are there, checked and converted; no pickle is ever in it. What
an interrupted run has finished stays in `.fetch` and is not downloaded again. Only `mer models fetch` runs this code;
stages never download.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mer_pipeline.base.atomic import sweep
from mer_pipeline.base.errors import CheckpointError, DownloadError, UsageError
from mer_pipeline.config.project import MODELS
from mer_pipeline.models import convert
from mer_pipeline.models.checkpoint import can_be_fetched, folder_of, resolve
from mer_pipeline.models.hub import Hub, Source, Tell, is_stated, source_of
from mer_pipeline.models.open_clip_table import disagreement
from mer_pipeline.models.origin import NAME, Origin, differing, read_origin, write_origin
from mer_pipeline.models.wanted import FUNASR, RemoteFile, Repository, Wanted, wanted
from mer_pipeline.store.fingerprint import sha256_of
from mer_pipeline.store.root import free_bytes

STATE = ".fetch"
INDEX = "model.safetensors.index.json"

Say = Callable[[str], None]  # is called with a line for the user


@dataclass(frozen=True)
class Plan:
    """What is to be done for one checkpoint.

    Attributes:
        spec: its name in params.yaml.
        source: what that asks for.
        repository: as the hub describes it.
        wanted: the files that make it.
        kept: the names of those that an earlier run has finished.
    """

    spec: str
    source: Source
    repository: Repository
    wanted: Wanted
    kept: frozenset[str]

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        """The files that are still to be downloaded."""
        return tuple(file for file in self.wanted.files if file.name not in self.kept)

    @property
    def bytes_missing(self) -> int:
        """The bytes of those files."""
        return sum(file.size for file in self.missing)


@dataclass(frozen=True)
class Plans:
    """What is to be done for all checkpoints.

    Attributes:
        present: the specs of those that are there.
        todo: a plan for each that is missing.
        problems: a sentence for each that cannot be had.
    """

    present: tuple[str, ...]
    todo: tuple[Plan, ...]
    problems: tuple[str, ...]


def plan_all(specs: Iterable[str], hub: Hub, models: Path = MODELS, commits: Mapping[str, str] | None = None) -> Plans:
    """Look at all checkpoints, and ask the hub about those that are missing. Nothing is downloaded or written.

    Args:
        specs: their names in params.yaml.
        hub: where they are from.
        models: the folder in which they are to be.
        commits: for each spec the commit that models.lock has for it, which is then taken whatever its branch is at.

    Raises:
        DownloadError: the hub cannot be reached.
    """
    present: list[str] = []
    todo: list[Plan] = []
    problems: list[str] = []
    for spec in dict.fromkeys(specs):
        try:
            commit = (commits or {}).get(spec)
            if is_present(spec, models, commit):
                present.append(spec)
            else:
                todo.append(_plan(spec, hub, models, commit))
        except CheckpointError as error:
            problems.append(_of(spec, error))
    return Plans(tuple(present), tuple(todo), tuple(problems))


def _of(spec: str, error: CheckpointError) -> str:
    return str(error) if spec in str(error) else f"checkpoint '{spec}': {error}"


def is_present(spec: str, models: Path = MODELS, commit: str | None = None) -> bool:
    """Return whether a checkpoint is there: as it was fetched, or usable where it was put there by hand.

    Args:
        spec: its name in params.yaml.
        models: the folder of all checkpoints.
        commit: that it must be of, if it was fetched; None for any.

    Raises:
        CheckpointError: there is something else in its place, or the folder of a `dir:` is missing.
    """
    folder = folder_of(spec, models)
    if can_be_fetched(spec):
        if not folder.exists():
            return False
        if (origin := read_origin(folder)) is not None:
            return origin.commit == (commit or origin.commit) and not differing(folder, origin)
        if models != MODELS:
            raise CheckpointError(f"{folder} was not written by `mer models fetch`; move it away")
    resolve(spec)
    return True


def _plan(spec: str, hub: Hub, models: Path, commit: str | None) -> Plan:
    source = source_of(spec)
    assert source is not None  # `dir:` is present or an error
    if commit is not None and source.kind != "facenet":
        source = Source(source.kind, source.repository, commit, source.weights)
    repository = hub.describe(source)
    chosen = wanted(source.kind, repository)
    state = _state_of(spec, models)
    origin = read_origin(state)
    if origin is not None and origin.commit == repository.commit and not differing(state, origin):
        kept = frozenset(file.name for file in chosen.files)  # all are converted already
    else:
        kept = frozenset(file.name for file in chosen.files if is_stated(state / file.name, file))
    return Plan(spec, source, repository, chosen, kept)


def make_all(plans: Iterable[Plan], hub: Hub, tell: Tell, say: Say, models: Path = MODELS) -> list[str]:
    """Download and convert what is missing, one checkpoint after another.

    Args:
        plans: from `plan_all`.
        hub: where they are from.
        tell: is called with the number of bytes that have come.
        say: is called with a line when a file or a folder is finished.
        models: the folder in which they are to be.

    Returns:
        A sentence for each that could not be made, because access is not granted or a pickle is not of tensors alone.

    Raises:
        DownloadError: the hub cannot be reached or sends wrong bytes, or there is no room.
    """
    plans = tuple(plans)
    problems: list[str] = []
    if not plans:
        return problems
    models.mkdir(parents=True, exist_ok=True)
    with alone(models):
        needed = sum(plan.wanted.room - (plan.wanted.size - plan.bytes_missing) for plan in plans)
        if needed > (free := free_bytes(models)):
            raise DownloadError(f"{models} needs {needed:,} more bytes and its disk has {free:,} free; make room there")
        for plan in plans:
            try:
                _make(plan, hub, tell, say, models)
            except CheckpointError as error:
                problems.append(_of(plan.spec, error))
    return problems


def _make(plan: Plan, hub: Hub, tell: Tell, say: Say, models: Path) -> None:
    state = _state_of(plan.spec, models)
    state.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(state / ".cache", ignore_errors=True)  # unfinished files of the client, which it never takes up again
    sweep(state)
    for file in plan.missing:
        (state / file.name).unlink(missing_ok=True)
        hub.download(plan.source, plan.repository, file, state, tell)
        say(f"{plan.repository.name}: {file.name}")
    origin = read_origin(state)
    if origin is None or origin.commit != plan.repository.commit or differing(state, origin):
        origin = _convert(plan, state, say)
    folder = folder_of(plan.spec, models)
    _finish(state, origin, folder)
    say(f"{plan.spec} is in {folder}")
    if plan.source.kind == "openclip" and (note := disagreement(plan.spec.partition(":")[2].partition("@")[0], folder)):
        say(note)


def _convert(plan: Plan, state: Path, say: Say) -> Origin:
    """Convert what has to be converted, and write the record of the finished folder."""
    converted = plan.wanted.converted
    for old, new in converted.items():
        say(f"{plan.repository.name}: converting {old} to {new}")
        if old == FUNASR:
            convert.convert_config(state / old, state / new)
        else:
            convert.convert(state / old, state / new, funasr=FUNASR in converted)
    names = [file.name for file in plan.wanted.files if file.name not in converted] + list(converted.values())
    if len(converted) > 1 and FUNASR not in converted:
        convert.write_index(state, converted.values())
        names.append(INDEX)
    origin = Origin(
        spec=plan.spec,
        repository=plan.repository.name,
        commit=plan.repository.commit,
        licence=plan.repository.licence,
        downloaded={file.name: sha256_of(state / file.name) for file in plan.wanted.files},
        files={name: sha256_of(state / name) for name in sorted(names)},
    )
    write_origin(state, origin)
    return origin


def _finish(state: Path, origin: Origin, folder: Path) -> None:
    """Take away all that is not in the record, the pickles above all, and give the folder its name."""
    for path in state.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in origin.files and path.name != NAME:
            path.unlink()
    old = state.with_name(f"{state.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():  # it was damaged
        folder.rename(old)
    state.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _state_of(spec: str, models: Path) -> Path:
    return models / STATE / folder_of(spec, models).name


@contextmanager
def alone(models: Path) -> Iterator[None]:
    """Keep other fetches out of a folder. What is empty in the end goes.

    Raises:
        UsageError: another one is at work.
    """
    state = models / STATE
    state.mkdir(exist_ok=True)
    held = os.open(state, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise UsageError(f"another `mer models fetch` is at work in {models}; let it finish") from None
    for old in state.glob("*.old"):  # a kill left it where another folder took its place
        shutil.rmtree(old)
    try:
        yield
    finally:
        if not any(state.iterdir()):
            state.rmdir()
        os.close(held)
