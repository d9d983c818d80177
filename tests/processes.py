"""A second engine in one file: processes that each run the local engine over chunks and write packs themselves.

`engine = "tests.processes:Processes"` in .mer.toml. Rows do not pass through the process that asked, but where there is
no store that could take them.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.outcome import Outcome
from mer_pipeline.base.runs import Seconds
from mer_pipeline.base.runtime import Runtime, raise_if_stopped
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.engines.base import Engine
from mer_pipeline.engines.local import LocalEngine
from mer_pipeline.store.row_cache import row_cache_of

CHUNK = 4  # clips
TICK_S = 0.5


@dataclass(frozen=True)
class Chunk:
    """What a worker brings back."""

    outcomes: list[Outcome]
    spent: Seconds


class Processes(Engine[Item]):
    """Two processes or more."""

    def __init__(self, transform: Transform[Item], runtime: Runtime, shards: int) -> None:
        super().__init__(transform, runtime, shards)
        self._pending: set[Future[Chunk]] = set()

    def set_up(self) -> None:
        """Load models here first: an unfit one is said once."""
        LocalEngine(self.transform, self.runtime).set_up()

    def outcomes(self, clips: Iterable[Clip]) -> Iterator[Sequence[Outcome]]:
        """Keep every worker busy with a chunk, and one more waiting."""
        workers = self.runtime.workers
        fork = multiprocessing.get_context("fork")  # a transform need not be one that can be pickled
        self._pool = ProcessPoolExecutor(workers, fork, _begin, (self.transform, self.runtime, self.shards))
        source = iter(clips)
        while True:
            raise_if_stopped()
            while len(self._pending) < 2 * workers and (chunk := list(islice(source, CHUNK))):
                self._pending.add(self._pool.submit(_compute, chunk))
            if not self._pending:
                return
            done, _ = wait(self._pending, TICK_S, FIRST_COMPLETED)
            ready = self._collect(done)
            self._pending -= done
            yield ready

    def stop(self) -> Sequence[Outcome]:
        """Finish the chunks that are being computed."""
        self._pool.shutdown(cancel_futures=True)
        done = [f for f in self._pending if f.done() and not f.cancelled() and not f.exception()]
        self._pending.clear()
        return self._collect(done)

    def _collect(self, done: Iterable[Future[Chunk]]) -> list[Outcome]:
        chunks = [future.result() for future in done]
        self.spent.prepare += sum(chunk.spent.prepare for chunk in chunks)
        self.spent.infer += sum(chunk.spent.infer for chunk in chunks)
        return [outcome for chunk in chunks for outcome in chunk.outcomes]


def _begin(transform: Transform[Item], runtime: Runtime, shards: int) -> None:
    global worker
    worker = (transform, runtime, row_cache_of(transform, runtime, shards))
    LocalEngine(transform, runtime).set_up()


def _compute(clips: Sequence[Clip]) -> Chunk:
    transform, runtime, cache = worker
    engine = LocalEngine(transform, runtime)
    try:
        outcomes = [outcome for some in engine.outcomes(clips) for outcome in some]
    finally:
        engine.stop()
    if cache.has_store:
        cache.add(outcomes)
        cache.flush()
        outcomes = [_kept(outcome) for outcome in outcomes]
    return Chunk(outcomes, engine.spent)


def _kept(outcome: Outcome) -> Outcome:
    """What may pass the next time is not in the store, and has to be handed over."""
    is_there = outcome.failed is None or outcome.failed.lasts
    return replace(outcome, row=None, failed=None, kept=True) if is_there else outcome
