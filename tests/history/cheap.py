"""A transform that costs almost nothing and has every outcome, and one run of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.base.run import run
from mer_pipeline.base.runtime import Runtime, StoreSettings
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Section
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams, write_table


class CheapParams(Section):
    """Changes every value."""

    factor: int = 1


class Cheap(Transform[int]):
    """A number to a vector and a text; every seventh has nothing, every eleventh is broken."""

    name = "cheap"
    sources = (Source("manifest", ("x",), locators=("place",)),)
    schema = pa.schema([pa.field("vector", pa.list_(pa.float32(), 8)), pa.field("texts", pa.list_(pa.binary()))])

    def __init__(self, params: CheapParams, pause_s: float = 0.0) -> None:
        self.params: CheapParams = params
        self._pause = _Pause(pause_s)

    def prepare(self, clip: Clip) -> int:
        """The number."""
        x = int(str(clip.need("manifest")["x"]))
        time.sleep(self._pause.seconds)
        if x % 7 == 0:
            raise Skip("a multiple of seven")
        if x % 11 == 0:
            raise BadInput(f"{x} is a multiple of eleven")
        return x

    def bucket(self, item: int) -> int:
        """Odd and even never meet."""
        return item % 2

    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        """Something that has bytes of many lengths."""
        rows: list[Row | Skip] = []
        for x in items:
            vector = np.sin(np.arange(8, dtype=np.float32) * x * self.params.factor).astype(np.float32)
            rows.append({"vector": vector, "texts": [b"%d" % (x * k) for k in range(x % 4)]})
        return rows


class _Pause:
    """How long a clip takes; no part of its value, so it is held where the fingerprint does not look."""

    __slots__ = ("_path",)

    def __init__(self, seconds: float) -> None:
        self._path = Path(str(seconds))

    @property
    def seconds(self) -> float:
        return float(str(self._path))


def warm_up() -> None:
    """Whatever a first run would import and parse; without starting a thread, because forks follow."""
    import fsspec.implementations.local  # noqa: F401

    fingerprint_of(Cheap(CheapParams()), "any")


def run_once(
    clips: dict[str, int],
    out: str,
    *,
    order: int = 0,
    factor: int = 1,
    shards: int = 3,
    workers: int = 2,
    batch: int = 4,
    flush_s: float = 0.01,
    store: str = "store",
    pause_s: float = 0.0,
) -> None:
    """Write the manifest and run the transform in the current folder.

    Args:
        clips: names and numbers.
        out: folder of the rows; its quarantine lies beside it.
        order: seed of the manifest's order.
        factor: the param.
        shards: how many.
        workers, batch, flush_s, store: of the runtime.
        pause_s: of each clip.
    """
    names = list(np.random.default_rng(order).permutation(sorted(clips))) if clips else []
    names = [str(name) for name in names]
    table = {"clip_id": names, "x": [clips[name] for name in names], "place": [f"{order}/{name}" for name in names]}
    schema = pa.schema([("clip_id", pa.string()), ("x", pa.int64()), ("place", pa.string())])
    write_table(Path("manifest.parquet"), pa.table(table, schema=schema))
    run(
        Cheap(CheapParams(factor=factor), pause_s),
        {"manifest": Path("manifest.parquet")},
        Path(out),
        Path(f"{out}.quarantine.parquet"),
        shards=ShardParams(count=shards),
        quality=QualityParams(max_failed=1.0),
        runtime=Runtime(workers=workers, batch=batch, device="cpu", store=StoreSettings(url=store, flush_s=flush_s)),
    )
