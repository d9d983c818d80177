"""The base class of engines, and the two steps that every engine runs for a clip.

    clip ──prepare──► item ──(batches of one bucket)──infer──► outcomes

An engine takes clips, gives outcomes, and decides where and when these steps run. It may give each clip's row. It may
instead say that one of its workers has put the row into the store (`Outcome.kept`), so that large rows need not pass
through the calling process. A clip that fails has an outcome too; only UsageError and StageError end a run.
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
    """Runs one transform over clips.

    Args:
        transform: the transform.
        runtime: the settings of this machine, with its store.
        shards: the number of shards of the transform's table. A worker that stores rows puts the rows of one shard
            into one pack.

    Attributes:
        spent: the seconds in `prepare` and `infer`, summed over workers, and the seconds of waiting for them.
    """

    def __init__(self, transform: Transform[Item], runtime: Runtime, shards: int = 1) -> None:
        self.transform, self.runtime, self.shards = transform, runtime, shards
        self.spent = Seconds()

    @abstractmethod
    def set_up(self) -> None:
        """Load the models. What is loaded already is not loaded again.

        Raises:
            UsageError: a model or a setting does not fit.
        """

    @abstractmethod
    def outcomes(self, clips: Iterable[Clip]) -> Iterator[Sequence[Outcome]]:
        """Run the transform over clips. `set_up` must have been called before.

        Args:
            clips: the clips, which are taken one by one as they are needed.

        Yields:
            The outcomes that are ready, in any order; over all yields, there is one outcome for every clip. At least
            twice a second something is yielded, if need be an empty sequence, so that the caller can act on time.

        Raises:
            UsageError, StageError: no other clip would succeed, because a model or a server does not fit or the memory
                is too small.
            Stopped: the process got Ctrl-C or SIGTERM.
        """

    @abstractmethod
    def stop(self) -> Sequence[Outcome]:
        """Take no more clips, finish what is being computed, and end the workers.

        This is called once after every call of `outcomes`, also if that failed.

        Returns:
            The outcomes that `outcomes` did not yield.
        """


@dataclass(frozen=True)
class Prepared(Generic[Item]):
    """A clip that waits for `infer`, with its item and the item's padded length (`bucket`)."""

    clip: Clip
    item: Item
    bucket: int


def set_up(transform: Transform[Item], runtime: Runtime) -> None:
    """Load a transform's models, and have torch compute in full float32 (without TF32).

    Raises:
        UsageError: a model or a setting does not fit, or a library would not compute as params.yaml says.
    """
    numerics.check()
    if transform.uses_torch:
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        fix_threads()
        transform.setup(runtime.torch_device())


def fix_threads() -> None:
    """Set torch's number of threads to a constant, so that it always sums in the same order.

    The setting holds for the calling thread only.
    """
    import torch

    torch.set_num_threads(INTRA_OP_THREADS)


def prepare(
    transform: Transform[Item], clip: Clip, step: Callable[[Clip], Item] | None = None
) -> Prepared[Item] | Outcome:
    """Run the first step of a clip. A transient failure is retried, with growing pauses.

    Args:
        transform: the transform that the clip is prepared for.
        clip: the clip.
        step: the function that makes the item; None: `transform.prepare`.

    Returns:
        The clip with its item; or its outcome, if it failed or is skipped.

    Raises:
        UsageError, StageError: the transform raised it, because no other clip would succeed.
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
    """Run the second step of a batch of one bucket.

    If a batch fails, its clips are tried one by one to find the clip that fails. A row does not depend on the other
    clips of its batch, so this changes no value.

    Returns:
        The outcomes of the clips, in order.

    Raises:
        UsageError, StageError: no other clip would succeed, or the device's memory is too small.
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
    """Raise a documented error that does not concern a clip, because it ends the run.

    Any other exception is recorded as the clip's failure.
    """
    if isinstance(error, MerError) and not isinstance(error, ClipError):
        raise error


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether the error is a torch.OutOfMemoryError. Torch is not imported for this."""
    return any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)


def _too_large(transform: Transform[Item], batch: Sequence[Prepared[Item]], runtime: Runtime, error: Exception) -> str:
    """Return the message for a batch that the device's memory cannot hold, with the settings that help."""
    smaller = "set batch = 1 and, where that does not help, " if runtime.batch > 1 else "set "
    return (
        f"{transform.name}: the memory of the GPU is too small for {len(batch)} clips (batch = {runtime.batch} in "
        f".mer.toml), {transform.rows_on('cuda')} rows at a time, padded to {batch[0].bucket}: "
        f"{str(error).partition('. ')[0]}. Stop other programs that use the GPU; or {smaller}"
        'device = "cpu" in .mer.toml'
    )
