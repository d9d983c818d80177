"""A real encoder over sound, slowed down, that notes when it finished which clip."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.run import run
from mer_pipeline.base.runtime import Runtime, StoreSettings
from mer_pipeline.speech.logmel import LogMel, LogMelParams
from mer_pipeline.speech.track import ExtractAudio
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.rows import complete_row, digest, stage_schema
from mer_pipeline.tables.shards import ShardParams, shard_of, write_shard

SHARDS = 2
PAUSE_S = 0.01
DONE = Path("done.txt")  # a line for each row that came out: seconds since 1970


class Noted(LogMel):
    """`logmel`, a clip every PAUSE_S at the most."""

    def prepare(self, clip: Clip) -> object:  # type: ignore[override]
        """As LogMel."""
        time.sleep(PAUSE_S)
        return super().prepare(clip)

    def infer(self, items: Sequence[object]) -> list[Row | Skip]:  # type: ignore[override]
        """As LogMel, and a line in a file that outlives the process."""
        rows = super().infer(items)  # type: ignore[arg-type]
        with DONE.open("a") as file:
            file.write(f"{time.time()}\n" * len(rows))
        return rows


def make() -> Noted:
    """The encoder."""
    return Noted("voice", LogMelParams(family="logmel", input="audio"))


def warm_up() -> None:
    """What a first run would import."""
    import torchaudio  # noqa: F401

    fingerprint_of(make(), "cpu")


def write_sounds(folder: Path, count: int) -> None:
    """`data/audio` with clips of a fifth of a second."""
    rng = np.random.default_rng(0)
    rows: list[list[Row]] = [[] for _ in range(SHARDS)]
    for at in range(count):
        pcm = (rng.normal(size=3200) * 3000).astype("<i2").tobytes()
        values = {"pcm": pcm, "seconds": 0.2, "loudest_dbfs": -20.0, "rms_dbfs": -20.0}
        row = complete_row(f"c{at:04d}", digest(at), values, None, ExtractAudio.schema)
        rows[shard_of(f"c{at:04d}", SHARDS)].append(row)
    for bucket, members in enumerate(rows):
        write_shard(folder / "audio", bucket, members, stage_schema(ExtractAudio.schema), {})


def run_once(out: str, store: str, flush_s: float = 0.4, workers: int = 1) -> None:
    """Embed every clip of `audio/` in the current folder."""
    run(
        make(),
        {"audio": Path("audio")},
        Path(out),
        Path(f"{out}.quarantine.parquet"),
        shards=ShardParams(count=SHARDS),
        quality=QualityParams(),
        runtime=Runtime(workers=workers, batch=4, device="cpu", store=StoreSettings(url=store, flush_s=flush_s)),
    )
    print(os.getpid())
