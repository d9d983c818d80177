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
from dataclasses import dataclass, field
from typing import Generic

from mer_pipeline import numerics
from mer_pipeline.clips import Clip, Row
from mer_pipeline.errors import Skip, StageError, Transient, UsageError
from mer_pipeline.runs import Seconds
from mer_pipeline.runtime import INTRA_OP_THREADS, Runtime, raise_if_stopped
from mer_pipeline.transform import Item, Transform

TRANSIENT_TRIES = 3
TRANSIENT_PAUSE_S = 0.2
TICK_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of one clip: exactly one of `row`, `skipped` and `failed` is set.

    Attributes:
        clip: which.
        row: its values.
        skipped: why there are none.
        failed: what went wrong.
        rows: the transform's number of rows when it was made; smaller after the device's memory was short.
    """

    clip: Clip
    row: Row | None = None
    skipped: str | None = None
    failed: Exception | None = None
    rows: int = 1


@dataclass(frozen=True)
class _Prepared(Generic[Item]):
    clip: Clip
    item: Item
    bucket: int


@dataclass
class _Done(Generic[Item]):
    """What a thread brings back: an item to infer, or outcomes."""

    seconds: Seconds
    prepared: _Prepared[Item] | None = None
    outcomes: list[Outcome] = field(default_factory=list)


def set_up(transform: Transform[Item], runtime: Runtime) -> None:
    """Load the transform's models, in fp32 without shortcuts.

    Raises:
        UsageError: a model or setting is unfit, or a library would compute otherwise than params.yaml says.
    """
    numerics.check()
    if transform.uses_torch:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        _fix_threads()
        transform.setup(runtime.torch_device())


def stream(
    transform: Transform[Item], clips: Iterable[Clip], runtime: Runtime, spent: Seconds | None = None
) -> Iterator[list[Outcome]]:
    """Carry out a transform, after `set_up`, over clips.

    Args:
        transform: what to do.
        clips: pulled as they are needed.
        runtime: this machine.
        spent: the time is added to it.

    Yields:
        Outcomes as they are ready, in any order; an empty list at least every TICK_S, so that the caller
        can keep time.

    Raises:
        UsageError, StageError: a model or a server is found unfit while it runs.
        Stopped: Ctrl-C or SIGTERM.
    """
    spent = spent or Seconds()
    on_cpu = not transform.uses_torch or runtime.device_kind() == "cpu"
    infer_threads = runtime.workers if on_cpu else 1
    prepare_threads = transform.in_flight or runtime.workers
    window = max(runtime.batch * (runtime.workers + infer_threads + 1), 2 * prepare_threads)
    source = iter(clips)
    pending: set[Future[_Done[Item]]] = set()
    held: defaultdict[int, list[_Prepared[Item]]] = defaultdict(list)
    in_flight = 0
    exhausted = False
    initializer = _fix_threads if transform.uses_torch else None
    prepare_pool = ThreadPoolExecutor(prepare_threads, "prepare", initializer)
    infer_pool = ThreadPoolExecutor(infer_threads, "infer", initializer)

    def start_infer(bucket: int) -> None:
        items = held.pop(bucket)
        for start in range(0, len(items), runtime.batch):
            pending.add(infer_pool.submit(_infer, transform, items[start : start + runtime.batch]))

    def collect(done: Iterable[Future[_Done[Item]]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for future in done:
            result = future.result()
            spent.prepare += result.seconds.prepare
            spent.infer += result.seconds.infer
            if result.prepared is not None:
                held[result.prepared.bucket].append(result.prepared)
            outcomes += result.outcomes
        return outcomes

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
            since = time.perf_counter()
            done, pending = wait(pending, timeout=TICK_S, return_when=FIRST_COMPLETED)
            spent.wait += time.perf_counter() - since
            outcomes = collect(done)
            in_flight -= len(outcomes)
            for bucket in [bucket for bucket, items in held.items() if len(items) >= runtime.batch]:
                start_infer(bucket)
            yield outcomes
    except KeyboardInterrupt:
        # What is being computed is finished and handed over: it is paid for.
        prepare_pool.shutdown(cancel_futures=True)
        infer_pool.shutdown(cancel_futures=True)
        yield collect(
            future for future in pending if future.done() and not future.cancelled() and not future.exception()
        )
        raise
    finally:
        prepare_pool.shutdown(cancel_futures=True)
        infer_pool.shutdown(cancel_futures=True)


def _fix_threads() -> None:
    import torch

    torch.set_num_threads(INTRA_OP_THREADS)


def _prepare(transform: Transform[Item], clip: Clip) -> _Done[Item]:
    started = time.perf_counter()
    result = _try_prepare(transform, clip)
    spent = Seconds(prepare=time.perf_counter() - started)
    return _Done(spent, None, [result]) if isinstance(result, Outcome) else _Done(spent, result)


def _try_prepare(transform: Transform[Item], clip: Clip) -> _Prepared[Item] | Outcome:
    rows = transform.batch_rows
    for attempt in range(TRANSIENT_TRIES):
        try:
            item = transform.prepare(clip)
            return _Prepared(clip, item, transform.bucket(item))
        except Skip as skip:
            return Outcome(clip, skipped=str(skip), rows=rows)
        except (UsageError, StageError):
            raise
        except Transient as error:
            if error.tried or attempt == TRANSIENT_TRIES - 1:
                return Outcome(clip, failed=error, rows=rows)
            time.sleep(TRANSIENT_PAUSE_S * 2**attempt)
        except Exception as error:  # whatever one clip does must not end the run; the threshold judges
            return Outcome(clip, failed=error, rows=rows)
    raise AssertionError("unreachable")


def _infer(transform: Transform[Item], batch: list[_Prepared[Item]]) -> _Done[Item]:
    started = time.perf_counter()
    outcomes = _outcomes(transform, batch)
    return _Done(Seconds(infer=time.perf_counter() - started), None, outcomes)


def _outcomes(transform: Transform[Item], batch: list[_Prepared[Item]]) -> list[Outcome]:
    rows = transform.batch_rows
    try:
        results = transform.infer([prepared.item for prepared in batch])
    except (UsageError, StageError):
        raise
    except Exception as error:
        if _is_out_of_memory(error) and rows > 1:
            # For the rest of the run: what was too much once will be again. Another thread may have been here first.
            transform.batch_rows = min(transform.batch_rows, rows // 2)
            _free_device_memory()
            return _outcomes(transform, batch)
        if len(batch) == 1:
            return [Outcome(batch[0].clip, failed=error, rows=rows)]
        # Find the one that spoils the batch; a row does not depend on its companions, so this changes no value.
        return [outcome for prepared in batch for outcome in _outcomes(transform, [prepared])]
    return [
        Outcome(prepared.clip, skipped=str(result), rows=rows)
        if isinstance(result, Skip)
        else Outcome(prepared.clip, row=result, rows=rows)
        for prepared, result in zip(batch, results, strict=True)
    ]


def _is_out_of_memory(error: Exception) -> bool:
    """Of the device: torch.OutOfMemoryError, without importing torch for transforms that have no use for it."""
    return any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)


def _free_device_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
