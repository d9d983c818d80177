"""The engine `ray`: workers on a Ray cluster, each of which runs the local engine over chunks of clips.

    clips ─► chunks ─► worker (prepare, infer, store) ─► outcomes
                  └──► worker ...

The stage attaches to a cluster that runs already (`ray start`), and only when clips are to be computed and they are
more than a few. A worker puts its rows into the store itself, which must be one that all machines reach; without a
store, rows come back. When a worker is lost, its chunks are given to others and a new worker is asked for. Workers that
the cluster has no room for yet start when it has. All machines need this project at the same path.

Clips are sent with what they are computed from, such as pictures: two chunks for each worker are on their way at once.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.outcome import Outcome
from mer_pipeline.base.runtime import RaySettings, Runtime, raise_if_stopped
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.engines.base import Engine
from mer_pipeline.engines.local import LocalEngine
from mer_pipeline.engines.ray_worker import Computed, Reference, Worker, attach, cause_of, first_line, library, maker
from mer_pipeline.engines.supply import CHUNK_S, Chunk, Supply

TICK_S = 0.5
AT_ONCE = 2  # chunks that a worker is given; the second one waits at the worker
WAIT_S = 30.0  # a run that has waited so long for its first worker says so

log = logging.getLogger(__name__)


class RayEngine(Engine[Item]):
    """Runs a transform on a Ray cluster. Small work, and requests to a server, are done by this process itself."""

    def __init__(self, transform: Transform[Item], runtime: Runtime, shards: int = 1) -> None:
        super().__init__(transform, runtime, shards)
        self._local: LocalEngine[Item] | None = None
        self._starting: dict[Reference, Worker] = {}
        self._busy: dict[Reference, tuple[Worker, Chunk]] = {}
        self._workers: list[Worker] = []  # that have started

    def set_up(self) -> None:
        """As Engine.set_up. Models are loaded by the workers, when there are clips.

        Raises:
            UsageError: Ray is not installed.
        """
        library()

    def outcomes(self, clips: Iterable[Clip]) -> Iterator[Sequence[Outcome]]:
        """As Engine.outcomes."""
        source, enough = iter(clips), self.runtime.ray.at_least
        first = list(itertools.islice(source, enough))
        if len(first) < enough or self.transform.external_response:
            yield from self._by_this_process(itertools.chain(first, source))
        else:
            yield from self._by_workers(Supply(itertools.chain(first, source)))

    def stop(self) -> Sequence[Outcome]:
        """As Engine.stop. Workers finish the chunk that they are at, if that does not take long, and end."""
        if self._local is not None:
            return self._local.stop()
        outcomes: list[Outcome] = []
        ray = library()
        if ray.is_initialized():
            from ray.exceptions import RayError

            if self._busy:
                done, _ = ray.wait(list(self._busy), num_returns=len(self._busy), timeout=2 * CHUNK_S)
                for ref in done:
                    with suppress(RayError):  # a worker that is lost or fails now gives nothing
                        outcomes += self._take(ray.get(ref))
            ray.shutdown()  # which ends all workers that this process started
        self._starting.clear()
        self._busy.clear()
        self._workers.clear()
        return outcomes

    def _by_this_process(self, clips: Iterator[Clip]) -> Iterator[Sequence[Outcome]]:
        log.info("%s: by this process, without the cluster", self.transform.name)
        self._local = LocalEngine(self.transform, self.runtime, self.shards)
        self._local.set_up()
        yield from self._local.outcomes(clips)
        self.spent = self._local.spent

    def _by_workers(self, supply: Supply) -> Iterator[Sequence[Outcome]]:
        ray, settings = attach(self.runtime), self.runtime.ray
        wanted = settings.workers or _room(ray.cluster_resources(), settings)
        log.info("%s: on the Ray cluster, with up to %d workers", self.transform.name, wanted)
        make = maker(self.transform, self.runtime, self.shards)
        warn_at = time.monotonic() + WAIT_S
        while not supply.is_empty or self._busy:
            raise_if_stopped()
            while len(self._starting) + len(self._workers) < wanted:
                worker = make()
                self._starting[worker.set_up.remote()] = worker
            for worker in self._idle():
                if not supply.is_empty:
                    chunk = supply.take()
                    self._busy[worker.compute.remote(pickle.dumps(chunk.clips))] = (worker, chunk)
            if not self._workers and time.monotonic() > warn_at:
                log.warning("%s: the cluster has no room for a worker yet", self.transform.name)
                warn_at = time.monotonic() + 20 * WAIT_S
            since = time.perf_counter()
            done, _ = ray.wait([*self._busy, *self._starting], num_returns=1, timeout=TICK_S)
            self.spent.wait += time.perf_counter() - since
            yield [outcome for ref in done for outcome in self._see(ref, supply)]

    def _idle(self) -> Iterator[Worker]:
        """Give each worker as often as it may be given another chunk; those with the fewest first."""
        chunks = Counter(id(worker) for worker, _ in self._busy.values())
        for given in range(AT_ONCE):
            yield from [worker for worker in self._workers if chunks[id(worker)] <= given]

    def _see(self, ref: Reference, supply: Supply) -> list[Outcome]:
        """Take what a finished call gave: nothing from a worker that has started, outcomes from one that has computed.

        Raises:
            UsageError, StageError: no clip would succeed, or a chunk was lost too often.
        """
        from ray.exceptions import RayActorError, RayTaskError

        started = self._starting.pop(ref, None)
        worker, chunk = (started, None) if started is not None else self._busy.pop(ref)
        try:
            result = library().get(ref)
        except RayTaskError as error:
            raise cause_of(error) from error
        except RayActorError as error:
            if isinstance(cause := getattr(error, "cause", None), RayTaskError):  # its code could not be loaded
                raise cause_of(cause) from cause
            log.warning("%s: a worker was lost (%s); others go on", self.transform.name, first_line(error))
            self._workers = [one for one in self._workers if one is not worker]
            if chunk is not None:
                supply.give_back(chunk)
            return []
        if chunk is None:
            self._workers.append(worker)
            return []
        supply.learn(len(chunk.clips), result.seconds)
        return self._take(result)

    def _take(self, computed: Computed) -> list[Outcome]:
        self.spent.prepare += computed.spent.prepare
        self.spent.infer += computed.spent.infer
        return computed.outcomes


def _room(resources: Mapping[str, float], settings: RaySettings) -> int:
    """Return how many workers a cluster has room for."""
    rooms = [resources.get("CPU", 0) / settings.cpus] if settings.cpus else []
    rooms += [resources.get("GPU", 0) / settings.gpus] if settings.gpus else []
    return max(1, int(min(rooms, default=1)))
