"""Clips in chunks for workers that may be lost: what a lost worker was given comes again, and not for ever."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import StageError

CHUNK_S = 5.0  # a chunk should take a worker so long: few messages, and little is lost with a worker
FIRST_CHUNK = 8  # clips, while nobody knows how long one takes
MOST = 256  # clips of a chunk
TRIES = 3  # a chunk with which so many workers were lost ends the run


@dataclass(frozen=True)
class Chunk:
    """Clips that are given to a worker, with the number of workers that were lost with them."""

    clips: list[Clip]
    tries: int = 0


class Supply:
    """Clips in chunks: first those whose worker was lost, then those that come next.

    Args:
        clips: taken one by one as they are needed.
    """

    def __init__(self, clips: Iterator[Clip]) -> None:
        self._clips = clips
        self._again: deque[Chunk] = deque()
        self._next: Clip | None = next(clips, None)
        self._size = FIRST_CHUNK

    @property
    def is_empty(self) -> bool:
        """Whether no clip is left."""
        return self._next is None and not self._again

    def take(self) -> Chunk:
        """Return the next chunk; there must be a clip left."""
        if self._again:
            return self._again.popleft()
        assert self._next is not None
        clips = [self._next, *itertools.islice(self._clips, self._size - 1)]
        self._next = next(self._clips, None)
        return Chunk(clips)

    def give_back(self, chunk: Chunk) -> None:
        """Take a chunk again whose worker was lost.

        Raises:
            StageError: that has happened with this chunk too often.
        """
        if chunk.tries + 1 >= TRIES:
            names = ", ".join(f"'{clip.clip_id}'" for clip in chunk.clips[:3])
            raise StageError(
                f"{TRIES} workers of the Ray cluster were lost while they computed {names}"
                f"{', ...' if len(chunk.clips) > 3 else ''}; `ray logs` may say why (memory?), and the same command "
                "goes on where this run ended"
            )
        self._again.append(Chunk(chunk.clips, chunk.tries + 1))

    def learn(self, clips: int, seconds: float) -> None:
        """Let chunks be so large that one takes CHUNK_S; they at most double at a time."""
        wanted = int(clips * CHUNK_S / max(seconds, 1e-3))
        self._size = max(FIRST_CHUNK, min(wanted, 2 * self._size, MOST))
