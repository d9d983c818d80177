"""Facts about the items that wait for a full batch: none is lost, buckets do not mix, and few rows are copies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Section
from mer_pipeline.engines.base import Prepared
from mer_pipeline.engines.local import LocalEngine
from mer_pipeline.engines.waiting import WaitingItems
from tests.conftest import clip

STEP = 8000  # samples; as hf-speech pads


class Heard(Transform[int]):
    """A model that only counts what it is given: samples of clips, and samples of whole batches."""

    name = "heard"
    sources = (Source("manifest", ("samples",)),)
    schema = pa.schema([pa.field("samples", pa.int64())])
    params = Section()
    batch_rows = 4

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []

    def prepare(self, clip: Clip) -> int:
        return int(str(clip.need("manifest")["samples"]))

    def bucket(self, item: int) -> int:
        return -(-item // STEP) * STEP

    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        rows = -(-len(items) // self.batch_rows) * self.batch_rows
        self.batches.append((sum(items), rows * self.bucket(items[0])))
        return [{"samples": item} for item in items]


@pytest.mark.parametrize("workers", [1, 8])
def test_nine_of_ten_samples_belong_to_a_clip(workers: int) -> None:
    """Of lengths like MER2025's, at any number of workers. The lengths: log-normal, median 3.6 s, 0.6 to 20 s."""
    draws = np.random.default_rng(0).normal(math.log(3.6), 0.55, 5000)
    lengths = (np.clip(np.exp(draws), 0.6, 20) * 16000).astype(int)
    transform = Heard()
    engine = LocalEngine(transform, Runtime(workers=workers, device="cpu"))
    clips = [clip(f"c{i}", manifest={"samples": int(n)}) for i, n in enumerate(lengths)]
    given_back = [outcome.clip_id for some in engine.outcomes(iter(clips)) for outcome in some]
    engine.stop()
    assert sorted(given_back) == sorted(one.clip_id for one in clips)
    useful, all_samples = map(sum, zip(*transform.batches, strict=True))
    assert useful / all_samples >= 0.9


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 9), st.integers(1, 5), st.integers(1, 20))
def test_each_item_leaves_once_in_a_batch_of_its_bucket(buckets: list[int], batch: int, rows: int, most: int) -> None:
    """In whatever order items come and batches are taken; and no more wait than may."""
    waiting = WaitingItems[bytes](batch, rows, clips=most)
    taken: list[list[Prepared[bytes]]] = []
    for i, bucket in enumerate(buckets):
        waiting.add(Prepared(clip(str(i)), b"xx", bucket))
        taken += waiting.full()
        while waiting.is_full:
            taken.append(waiting.fullest())
        assert len(waiting) < most
    taken += waiting.rest()
    assert len(waiting) == 0
    assert Counter(one.clip.clip_id for some in taken for one in some) == Counter(map(str, range(len(buckets))))
    assert all(len(some) <= batch and len({one.bucket for one in some}) == 1 for some in taken)


def test_what_waits_is_bounded_in_bytes() -> None:
    """Arrays in dataclasses and lists count; a batch that leaves gives its bytes back."""
    waiting = WaitingItems[list[np.ndarray]](batch=4, rows=4, size=1000)
    waiting.add(Prepared(clip("a"), [np.zeros(100, np.float32)], 0))
    assert not waiting.is_full
    waiting.add(Prepared(clip("b"), [np.zeros(100), np.zeros(1)], 1))
    assert waiting.is_full
    assert [one.clip.clip_id for one in waiting.fullest()] == ["b"]
    assert not waiting.is_full
