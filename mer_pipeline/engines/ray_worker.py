"""A worker on a Ray cluster, and how this process gets one: attach to the cluster, send the work, load it there.

The worker goes to the project's folder before it loads any of the project's code, as a stage's process does. All
machines therefore need the project at the same path.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeAlias, cast

from mer_pipeline.base import numerics
from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.outcome import Outcome
from mer_pipeline.base.runs import Seconds
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.engines.local import LocalEngine
from mer_pipeline.store.row_cache import RowCache, row_cache_of

Worker: TypeAlias = Any  # an actor handle of ray, whose methods are made when it is called
Reference: TypeAlias = Any  # to the result of a call

OURS = ("MER_", "AWS_", "HF_")  # beginnings of the environment variables that a worker gets from this process


@dataclass(frozen=True)
class Computed:
    """What a worker gives back: the outcomes of a chunk, and the time that it took."""

    outcomes: list[Outcome]
    spent: Seconds
    seconds: float


class Computing(Generic[Item]):
    """The work of one worker, in its process: set up once, then chunk after chunk.

    Args:
        transform, runtime, shards: as for `Engine`.
    """

    def __init__(self, transform: Transform[Item], runtime: Runtime, shards: int) -> None:
        self._engine = LocalEngine(transform, runtime, shards)
        self._cache: RowCache = row_cache_of(transform, runtime, shards)

    def set_up(self) -> None:
        """As Engine.set_up."""
        self._engine.set_up()

    def compute(self, clips: Sequence[Clip]) -> Computed:
        """Compute clips, and put the rows into the store if there is one."""
        started, before = time.perf_counter(), replace(self._engine.spent)
        try:
            outcomes = [outcome for some in self._engine.outcomes(clips) for outcome in some]
        finally:
            self._engine.stop()
        if self._cache.has_store:
            self._cache.add(outcomes)
            self._cache.flush()
            outcomes = [_kept(outcome) for outcome in outcomes]
        now = self._engine.spent
        spent = Seconds(prepare=now.prepare - before.prepare, infer=now.infer - before.infer)
        return Computed(outcomes, spent, time.perf_counter() - started)


def _kept(outcome: Outcome) -> Outcome:
    """Return an outcome without what the store has now. What may succeed the next time is not in the store."""
    is_there = outcome.failed is None or outcome.failed.lasts
    return replace(outcome, row=None, failed=None, kept=True) if is_there else outcome


def library() -> ModuleType:
    """Return the module `ray`.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError:
        raise UsageError('.mer.toml asks for engine = "ray": install mer-pipeline[ray]') from None
    return cast("ModuleType", ray)


def attach(runtime: Runtime) -> ModuleType:
    """Connect this process with the cluster that .mer.toml names, and return the module `ray`.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """
    ray, before = library(), signal.getsignal(signal.SIGTERM)
    if ray.is_initialized():
        return ray
    try:
        _reach(runtime.ray.address)
        ray.init(address=runtime.ray.address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"there is no Ray cluster at '{runtime.ray.address}' ({first_line(error)}); start one with `ray start "
            "--head`, or give its address in .mer.toml ([ray] address)"
        ) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # ray has put its own there
    return ray


def _reach(address: str) -> None:
    """Raise an OSError where nothing listens at HOST:PORT, because ray itself tries for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def maker(transform: Transform[Item], runtime: Runtime, shards: int) -> Callable[[], Worker]:
    """Return a function that asks the cluster for one more worker.

    Its class is sent by value and what it works with as bytes, so that nothing is loaded before it is in the folder.

    Args:
        transform, runtime, shards: as for `Engine`.
    """
    ray, settings = library(), runtime.ray

    class InFolder:
        """A worker's process."""

        def __init__(self, folder: str, path: list[str], payload: bytes) -> None:
            import os
            import pickle
            import sys

            os.chdir(folder)
            sys.path[:0] = [place for place in path if place not in sys.path]
            make, *arguments = pickle.loads(payload)
            self._computing = make(*arguments)

        def set_up(self) -> None:
            self._computing.set_up()

        def compute(self, clips: bytes) -> object:
            import pickle

            return self._computing.compute(pickle.loads(clips))

    local = runtime.model_copy(update={"engine": "local", "workers": max(1, int(settings.cpus))})
    payload = ray.cloudpickle.dumps((Computing, transform, local, shards))
    # Libraries that ray itself loads read the variables of `numerics` before any of the project's code can run.
    pins = {name for variables in numerics.PINS.values() for name in variables}
    variables = {name: value for name, value in os.environ.items() if name in pins or name.startswith(OURS)}
    remote = ray.remote(InFolder).options(
        num_cpus=settings.cpus, num_gpus=settings.gpus, max_restarts=0, runtime_env={"env_vars": variables}
    )
    return lambda: remote.remote(str(Path.cwd()), sys.path, payload)


def cause_of(error: BaseException) -> BaseException:
    """Return what the project's code raised in a worker, without the stack of the cluster around it."""
    while (inner := getattr(error, "cause", None)) is not None:
        error = inner
    return error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without a full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".")
