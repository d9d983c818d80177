"""The local engine: one pool of threads prepares clips, and another computes batches of one bucket.

    clips ─► prepare pool ─► waiting items ─► infer pool ─► outcomes (in any order)

At most `window` clips are in these pools at a time, and few more wait between them (waiting.py), so memory is bounded
whatever the size of the dataset. On a CPU, the infer pool has one thread per worker, and torch uses one thread inside
each. On a GPU it has a single thread. If a transform decodes media, each thread of the prepare pool gives its clip to
a process (isolation.py; on Linux).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.outcome import Outcome
from mer_pipeline.base.runtime import Runtime, raise_if_stopped
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.engines.base import Engine, Prepared, fix_threads, infer, prepare, set_up
from mer_pipeline.engines.isolation import Isolation
from mer_pipeline.engines.waiting import WaitingItems

TICK_S = 0.5


@dataclass(frozen=True)
class _Done(Generic[Item]):
    """The result of a thread: a prepared clip or outcomes, and the seconds that the thread took."""

    result: Prepared[Item] | list[Outcome]
    prepare_s: float = 0.0
    infer_s: float = 0.0


class LocalEngine(Engine[Item]):
    """Runs a transform in threads of this process. It gives every row itself and never sets `Outcome.kept`."""

    def __init__(self, transform: Transform[Item], runtime: Runtime, shards: int = 1) -> None:
        super().__init__(transform, runtime, shards)
        self._is_set_up = False
        self._pools: list[ThreadPoolExecutor] = []
        self._preparing: set[Future[_Done[Item]]] = set()
        self._computing: set[Future[_Done[Item]]] = set()
        self._waiting = self._none_waiting()
        self._ready: list[Outcome] = []
        self._isolation: Isolation[Item] | None = None

    def set_up(self) -> None:
        """As Engine.set_up."""
        if not self._is_set_up:
            set_up(self.transform, self.runtime)
            self._is_set_up = True

    def outcomes(self, clips: Iterable[Clip]) -> Iterator[Sequence[Outcome]]:
        """As Engine.outcomes."""
        transform, runtime = self.transform, self.runtime
        on_cpu = not transform.uses_torch or runtime.device_kind() == "cpu"
        infer_threads = runtime.workers if on_cpu else 1
        prepare_threads = transform.in_flight or runtime.workers
        window = max(runtime.batch * (runtime.workers + infer_threads + 1), 2 * prepare_threads)
        initializer = fix_threads if transform.uses_torch else None
        if transform.decodes and sys.platform == "linux":  # the limits are those of Linux
            self._isolation = Isolation(transform)  # before there are threads
        prepare_pool = ThreadPoolExecutor(prepare_threads, "prepare", initializer)
        infer_pool = ThreadPoolExecutor(infer_threads, "infer", initializer)
        self._pools = [prepare_pool, infer_pool]
        source, in_flight, exhausted = iter(clips), 0, False
        while True:
            raise_if_stopped()
            for batch in self._batches(exhausted, infer_threads):
                self._computing.add(infer_pool.submit(self._infer, batch))
            while not exhausted and not self._waiting.is_full and in_flight - len(self._waiting) < window:
                clip = next(source, None)
                if clip is None:
                    exhausted = True
                else:
                    self._preparing.add(prepare_pool.submit(self._prepare, clip))
                    in_flight += 1
            ready, self._ready = self._ready, []
            yield ready  # while the threads are busy
            pending = self._preparing | self._computing
            if not pending and not self._waiting:
                return
            since = time.perf_counter()
            done, _ = wait(pending, timeout=TICK_S, return_when=FIRST_COMPLETED)
            self.spent.wait += time.perf_counter() - since
            self._collect(done)
            in_flight -= len(self._ready)

    def stop(self) -> Sequence[Outcome]:
        """As Engine.stop. What is being computed is finished and returned, so that no work is lost."""
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)
        if self._isolation is not None:
            self._isolation.close()
            self._isolation = None
        pending = self._preparing | self._computing
        self._collect({f for f in pending if f.done() and not f.cancelled() and not f.exception()})
        ready, self._ready = self._ready, []
        self._preparing.clear()
        self._computing.clear()
        self._waiting = self._none_waiting()
        return ready

    def _none_waiting(self) -> WaitingItems[Item]:
        kind = self.runtime.device_kind() if self.transform.uses_torch else "cpu"
        return WaitingItems(self.runtime.batch, self.transform.rows_on(kind))

    def _batches(self, exhausted: bool, threads: int) -> Iterator[list[Prepared[Item]]]:
        """Take the batches that are to be computed now from the items that wait.

        Args:
            exhausted: whether there are no more clips.
            threads: the number of threads that compute.
        """
        yield from self._waiting.full()
        if exhausted and not self._preparing:
            yield from self._waiting.rest()
        while self._waiting.is_full and len(self._computing) < threads:
            yield self._waiting.fullest()

    def _collect(self, done: Iterable[Future[_Done[Item]]]) -> None:
        """Take the results of finished threads.

        An exception of a future is raised here. The futures that were not yet taken then remain where they are.
        """
        for future in done:
            result = future.result()
            self._preparing.discard(future)
            self._computing.discard(future)
            self.spent.prepare += result.prepare_s
            self.spent.infer += result.infer_s
            if isinstance(result.result, Prepared):
                self._waiting.add(result.result)
            else:
                self._ready += result.result

    def _prepare(self, clip: Clip) -> _Done[Item]:
        started = time.perf_counter()
        isolation = self._isolation
        result = prepare(self.transform, clip) if isolation is None else isolation.prepare(clip)
        return _Done([result] if isinstance(result, Outcome) else result, prepare_s=time.perf_counter() - started)

    def _infer(self, batch: list[Prepared[Item]]) -> _Done[Item]:
        started = time.perf_counter()
        outcomes = infer(self.transform, batch, self.runtime)
        return _Done(outcomes, infer_s=time.perf_counter() - started)
