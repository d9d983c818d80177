"""Prepared clips that wait until a batch of their bucket is full.

A part batch costs as much as a full one, because it is filled up with copies (`base/batching.py`). Buckets are padded
lengths, and clips of one length come seldom. So many clips may wait, and a part batch is taken only when no more clips
come, or when no more may wait; it is then the fullest one. What waits is bounded in number and in bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Generic

from mer_pipeline.base.transform import Item
from mer_pipeline.engines.base import Prepared

# With these, 9 of 10 samples that a model of 4 rows is given belong to a clip, for clips of 1 to 20 s (a test has the
# lengths); with 40 clips it is every second one.
CLIPS = 256
BYTES = 256 * 2**20


class WaitingItems(Generic[Item]):
    """Items that wait, by their bucket.

    Args:
        batch: the number of clips of a full batch.
        rows: the fixed number of rows of the transform; a batch of fewer clips is filled up to a multiple of it.
        clips: the greatest number of clips that may wait.
        size: the greatest number of bytes that may wait.
    """

    def __init__(self, batch: int, rows: int, clips: int = CLIPS, size: int = BYTES) -> None:
        self._batch, self._rows = batch, rows
        self._clips, self._size = clips, size
        self._items: defaultdict[int, list[tuple[Prepared[Item], int]]] = defaultdict(list)
        self._count = self._bytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether no more clips may wait."""
        return self._count >= self._clips or self._bytes >= self._size

    def add(self, prepared: Prepared[Item]) -> None:
        """Let one more clip wait."""
        size = size_of(prepared.item)
        self._items[prepared.bucket].append((prepared, size))
        self._count += 1
        self._bytes += size

    def full(self) -> Iterator[list[Prepared[Item]]]:
        """Take all full batches."""
        for bucket, items in list(self._items.items()):
            for _ in range(len(items) // self._batch):
                yield self._take(bucket, self._batch)

    def fullest(self) -> list[Prepared[Item]]:
        """Take the part batch that needs the fewest copies: that with the most clips, and of these the longest."""
        bucket = max(self._items, key=lambda bucket: (len(self._items[bucket]), bucket))
        whole = len(self._items[bucket]) // self._rows * self._rows
        return self._take(bucket, min(whole or self._rows, self._batch))

    def rest(self) -> Iterator[list[Prepared[Item]]]:
        """Take all that waits."""
        while self._items:
            yield self._take(next(iter(self._items)), self._batch)

    def _take(self, bucket: int, count: int) -> list[Prepared[Item]]:
        taken, left = self._items[bucket][:count], self._items[bucket][count:]
        if left:
            self._items[bucket] = left
        else:
            del self._items[bucket]
        self._count -= len(taken)
        self._bytes -= sum(size for _, size in taken)
        return [prepared for prepared, _ in taken]


def size_of(item: object) -> int:
    """Return the bytes of the arrays, tensors, texts and bytes in an item, wherever in it they are.

    Example:
        >>> import numpy as np
        >>> size_of([np.zeros(3, np.float32), {"text": b"ab"}])
        14
    """
    if isinstance(item, bytes | str):
        return len(item)
    size = getattr(item, "nbytes", None)
    if isinstance(size, int):
        return size
    if is_dataclass(item) and not isinstance(item, type):
        return sum(size_of(getattr(item, field.name)) for field in fields(item))
    if isinstance(item, Mapping):
        return sum(map(size_of, item.values()))
    if isinstance(item, Sequence):
        return sum(map(size_of, item))
    return 0
