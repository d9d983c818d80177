"""The local engine: prepare in threads → bounded window → infer in batches of one bucket.

    clips ─► prepare pool ─► items by bucket ─► infer pool ─► outcomes (in any order)

At most `window` clips are in flight, so memory is bounded whatever the dataset's size. On a CPU the infer pool
has a thread per worker, each with the fixed intra-op thread count; on a GPU it has one.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic

from mer_pipeline.clips import Clip, Row
from mer_pipeline.errors import Skip, Transient, UsageError
from mer_pipeline.runtime import INTRA_OP_THREADS, Runtime, raise_if_stopped
from mer_pipeline.transform import Item, Transform

TRANSIENT_TRIES = 3
TRANSIENT_PAUSE_S = 0.2


@dataclass(frozen=True)
class Outcome:
    """What became of one clip: exactly one of `row`, `skipped` and `failed` is set."""

    clip: Clip
    row: Row | None = None
    skipped: str | None = None
    failed: Exception | None = None


@dataclass(frozen=True)
class _Prepared(Generic[Item]):
    clip: Clip
    item: Item
    bucket: int


def stream(transform: Transform[Item], clips: Iterable[Clip], runtime: Runtime) -> Iterator[Outcome]:
    """Carry out a transform over clips; outcomes come as they are ready, in any order.

    Raises:
        UsageError: what `transform.setup` finds wrong, before any clip is touched.
        Stopped: Ctrl-C or SIGTERM.
    """
    infer_threads = runtime.workers
    if transform.uses_torch:
        device = runtime.torch_device()
        _fix_threads()
        transform.setup(device)
        infer_threads = runtime.workers if device.type == "cpu" else 1
    window = runtime.batch * (runtime.workers + infer_threads + 1)
    source = iter(clips)
    pending: set[Future[_Prepared[Item] | list[Outcome]]] = set()
    held: defaultdict[int, list[_Prepared[Item]]] = defaultdict(list)
    in_flight = 0
    exhausted = False
    initializer = _fix_threads if transform.uses_torch else None
    prepare_pool = ThreadPoolExecutor(runtime.workers, "prepare", initializer)
    infer_pool = ThreadPoolExecutor(infer_threads, "infer", initializer)

    def start_infer(bucket: int) -> None:
        pending.add(infer_pool.submit(_infer, transform, held.pop(bucket)))

    try:
        while True:
            raise_if_stopped()
            while not exhausted and in_flight < window:
                clip = next(source, None)
                if clip is None:
                    exhausted = True
                else:
                    pending.add(prepare_pool.submit(_prepare, transform, clip))
                    in_flight += 1
            if not pending:
                if not held:
                    return
                # Nothing else can fill these up: the source is empty, or the window is full of part batches.
                for bucket in list(held):
                    start_infer(bucket)
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                if isinstance(result, _Prepared):
                    held[result.bucket].append(result)
                    if len(held[result.bucket]) == runtime.batch:
                        start_infer(result.bucket)
                else:
                    in_flight -= len(result)
                    yield from result
    finally:
        prepare_pool.shutdown(cancel_futures=True)
        infer_pool.shutdown(cancel_futures=True)


def _fix_threads() -> None:
    import torch

    torch.set_num_threads(INTRA_OP_THREADS)


def _prepare(transform: Transform[Item], clip: Clip) -> _Prepared[Item] | list[Outcome]:
    for attempt in range(TRANSIENT_TRIES):
        try:
            item = transform.prepare(clip)
            return _Prepared(clip, item, transform.bucket(item))
        except Skip as skip:
            return [Outcome(clip, skipped=str(skip))]
        except Transient as error:
            if attempt == TRANSIENT_TRIES - 1:
                return [Outcome(clip, failed=error)]
            time.sleep(TRANSIENT_PAUSE_S * 2**attempt)
        except Exception as error:  # whatever one clip does must not end the run; the threshold judges
            return [Outcome(clip, failed=error)]
    raise AssertionError("unreachable")


def _infer(transform: Transform[Item], batch: list[_Prepared[Item]]) -> _Prepared[Item] | list[Outcome]:
    try:
        results = transform.infer([prepared.item for prepared in batch])
    except UsageError:
        raise
    except Exception as error:
        if len(batch) == 1:
            return [Outcome(batch[0].clip, failed=error)]
        # Find the one that spoils the batch; a row does not depend on its companions, so this changes no value.
        alone = (_infer(transform, [prepared]) for prepared in batch)
        return [outcome for outcomes in alone if isinstance(outcomes, list) for outcome in outcomes]
    return [
        Outcome(prepared.clip, skipped=str(result)) if isinstance(result, Skip) else Outcome(prepared.clip, row=result)
        for prepared, result in zip(batch, results, strict=True)
    ]
