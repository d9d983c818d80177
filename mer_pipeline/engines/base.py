"""What an engine is: clips in, outcomes out, told when to stop. And the two steps that every engine takes for a clip.

    clip ──prepare──► item ──(batches of one bucket)──infer──► outcomes

An engine decides where and when these steps run. It may hand over each clip's row, or say that a worker of its own has
put the row into the store (`Outcome.kept`), so that rows that are large never pass through the process that asked.
A clip can fail; only UsageError and StageError end a run.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

from mer_pipeline.base import numerics
from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import ClipError, MerError, Skip, StageError, Transient
from mer_pipeline.base.outcome import Outcome, failed, trace
from mer_pipeline.base.runs import Seconds
from mer_pipeline.base.runtime import INTRA_OP_THREADS, Runtime
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.tables.rows import complete_row

TRANSIENT_TRIES = 3
TRANSIENT_PAUSE_S = 0.2

log = logging.getLogger(__name__)


class Engine(ABC, Generic[Item]):
    """Carries one transform out.

    Args:
        transform: which.
        runtime: this machine, and its store.
        shards: how many the transform's table has: a worker that keeps rows puts those of one shard into one pack.

    Attributes:
        spent: seconds in `prepare` and `infer`, summed over workers, and of waiting for them.
    """

    def __init__(self, transform: Transform[Item], runtime: Runtime, shards: int = 1) -> None:
        self.transform, self.runtime, self.shards = transform, runtime, shards
        self.spent = Seconds()

    @abstractmethod
    def set_up(self) -> None:
        """Load models; what was loaded already is not loaded again.

        Raises:
            UsageError: a model or setting is unfit.
        """

    @abstractmethod
    def outcomes(self, clips: Iterable[Clip]) -> Iterator[Sequence[Outcome]]:
        """Carry the transform out over clips, which are pulled as they are needed. Called after `set_up`.

        Yields:
            Outcomes as they are there, in any order, one for every clip; nothing at all twice a second at the least,
            so that the caller can keep time.

        Raises:
            UsageError, StageError: no clip would fare better: a model or a server is unfit, or memory is short.
            Stopped: Ctrl-C or SIGTERM.
        """

    @abstractmethod
    def stop(self) -> Sequence[Outcome]:
        """Take no more clips, finish what is being computed and let workers go. Called once for every `outcomes`,
        however that ended.

        Returns:
            Outcomes that `outcomes` did not hand over.
        """


@dataclass(frozen=True)
class Prepared(Generic[Item]):
    """A clip that waits for `infer`, with its item and the padded length that this decides."""

    clip: Clip
    item: Item
    bucket: int


def set_up(transform: Transform[Item], runtime: Runtime) -> None:
    """Load a transform's models, in fp32 without shortcuts.

    Raises:
        UsageError: a model or setting is unfit, or a library would compute otherwise than params.yaml says.
    """
    numerics.check()
    if transform.uses_torch:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        fix_threads()
        transform.setup(runtime.torch_device())


def fix_threads() -> None:
    """Make torch sum as it always does; for each thread that calls it."""
    import torch

    torch.set_num_threads(INTRA_OP_THREADS)


def prepare(
    transform: Transform[Item], clip: Clip, step: Callable[[Clip], Item] | None = None
) -> Prepared[Item] | Outcome:
    """The first step of a clip: its item, or its outcome where it needs no other step.

    Args:
        transform: whose clip.
        clip: which.
        step: what makes the item, where that is not `transform.prepare`.

    Raises:
        UsageError, StageError: the transform says that no clip would fare better.
    """
    for attempt in range(TRANSIENT_TRIES):
        try:
            item = (step or transform.prepare)(clip)
            return Prepared(clip, item, transform.bucket(item))
        except Skip as skip:
            return _outcome(transform, clip, skip)
        except Transient as error:
            if error.tried or attempt == TRANSIENT_TRIES - 1:
                return failed(clip, error, __file__)
            time.sleep(TRANSIENT_PAUSE_S * 2**attempt)
        except Exception as error:
            _raise_unless_of_a_clip(error)
            return failed(clip, error, __file__)
    raise AssertionError("unreachable")


def infer(transform: Transform[Item], batch: Sequence[Prepared[Item]], runtime: Runtime) -> list[Outcome]:
    """The second step: the outcomes of a batch of one bucket.

    Where a batch fails, its clips are tried alone to find the one that is to blame. A row does not depend on its
    companions, so this changes no value.

    Raises:
        UsageError, StageError: no clip would fare better, or the device's memory is short.
    """
    try:
        results = transform.infer([prepared.item for prepared in batch])
        if len(results) != len(batch):
            raise ValueError(f"{type(transform).__name__}.infer gave {len(results)} rows for {len(batch)} clips")
        return [_outcome(transform, prepared.clip, result) for prepared, result in zip(batch, results, strict=True)]
    except Exception as error:
        if _is_out_of_memory(error):
            raise StageError(_too_large(transform, batch, runtime, error)) from error
        _raise_unless_of_a_clip(error)
        if len(batch) == 1:
            return [failed(batch[0].clip, error, __file__)]
        if not isinstance(error, ClipError):
            place, text = trace(error, __file__)
            what = f"{transform.name}: {type(error).__name__} at {place} in a batch of {len(batch)} clips"
            log.warning("%s; each is tried alone", what, extra={"place": place, "details": text})
    return [outcome for prepared in batch for outcome in infer(transform, [prepared], runtime)]


def _outcome(transform: Transform[Item], clip: Clip, result: Row | Skip) -> Outcome:
    values, reason = (None, str(result)) if isinstance(result, Skip) else (result, None)
    if values is not None and (lacking := [name for name in transform.schema.names if name not in values]):
        raise ValueError(f"{type(transform).__name__} gave a row without {', '.join(lacking)}")
    row = complete_row(clip.clip_id, clip.input_digest, values, reason, transform.schema)
    return Outcome(clip.clip_id, clip.input_digest, row)


def _raise_unless_of_a_clip(error: Exception) -> None:
    """What was raised on purpose and is not about a clip ends the run; anything else becomes the clip's failure."""
    if isinstance(error, MerError) and not isinstance(error, ClipError):
        raise error


def _is_out_of_memory(error: Exception) -> bool:
    """Of the device: torch.OutOfMemoryError, without importing torch for transforms that have no use for it."""
    return any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)


def _too_large(transform: Transform[Item], batch: Sequence[Prepared[Item]], runtime: Runtime, error: Exception) -> str:
    """What was tried, and which settings there are."""
    smaller = "set batch = 1 and, where that does not help, " if runtime.batch > 1 else "set "
    return (
        f"{transform.name}: the memory of the GPU is too small for {len(batch)} clips (batch = {runtime.batch} in "
        f".mer.toml), {transform.batch_rows} rows at a time, padded to {batch[0].bucket}: "
        f"{str(error).partition('. ')[0]}. Stop other programs that use the GPU; or {smaller}"
        'device = "cpu" in .mer.toml'
    )
