"""Facts about the chunks that workers are given: every clip comes, also after a worker was lost, but not for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.base.errors import StageError
from mer_pipeline.engines.supply import FIRST_CHUNK, MOST, TRIES, Chunk, Supply
from tests.conftest import clip


@given(st.integers(0, 300), st.lists(st.booleans(), max_size=20), st.floats(0.001, 20))
def test_every_clip_is_computed_once_whatever_workers_are_lost(count: int, lost: list[bool], seconds: float) -> None:
    """A chunk whose worker was lost comes again; chunks have no clip in common."""
    supply, done = Supply(clip(str(at)) for at in range(count)), list[str]()
    fate = iter(lost)
    while not supply.is_empty:
        chunk = supply.take()
        assert 0 < len(chunk.clips) <= MOST
        if chunk.tries < TRIES - 1 and next(fate, False):
            supply.give_back(chunk)
        else:
            done += [one.clip_id for one in chunk.clips]
            supply.learn(len(chunk.clips), seconds)
    assert sorted(done) == sorted(map(str, range(count)))


def test_a_chunk_that_loses_every_worker_ends_the_run() -> None:
    """The sentence names its first clips."""
    supply = Supply(iter([clip("a"), clip("b"), clip("c"), clip("d")]))
    for _ in range(TRIES - 1):
        supply.give_back(supply.take())
    with pytest.raises(
        StageError, match=r"3 workers of the Ray cluster were lost while they computed 'a', 'b', 'c', \.\.\."
    ):
        supply.give_back(supply.take())


def test_chunks_grow_with_the_speed() -> None:
    """Slowly, and to a bound; where a clip takes long they stay small."""
    supply = Supply(clip(str(at)) for at in range(10_000))
    sizes = []
    for _ in range(8):
        chunk = supply.take()
        sizes.append(len(chunk.clips))
        supply.learn(len(chunk.clips), 0.01 * len(chunk.clips))
    assert sizes == [8, 16, 32, 64, 128, 256, 256, 256]
    supply.learn(256, 2560.0)
    assert len(supply.take().clips) == FIRST_CHUNK


def test_a_chunk_remembers_its_tries() -> None:
    """Each loss counts, also when other chunks come between."""
    supply = Supply(clip(str(at)) for at in range(20))
    supply.give_back(supply.take())
    again = supply.take()
    assert again == Chunk(again.clips, tries=1)
    assert supply.take().tries == 0
