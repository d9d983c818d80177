"""The row store: a `Transform`, and `run`, which every stage of the pipeline is.

Settings are the defaults (shards, seconds between packs) unless the environment says otherwise.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.run import run
from mer_pipeline.base.runtime import Runtime, StoreSettings
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Section
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams

import pyarrow as pa
from workload.clip import SIZE, Floats, features, weights_of

from contenders.job import MANIFEST, RESULT, WEIGHTS, make_manifest, measure, params


class MelParams(Section):
    """What decides the values."""

    pad_to: int
    shifts: int


class Mel(Transform[Floats]):
    """A vector per clip. All is done in `prepare`, so that one worker is one computing thread."""

    name = "mel"
    sources = (Source("manifest", ("sha256",), locators=("path",)),)
    schema = pa.schema([pa.field("vector", pa.list_(pa.float32(), SIZE))])

    def __init__(self, params: MelParams) -> None:
        self.params = params

    def files(self) -> Sequence[Path]:
        """The weights."""
        return (WEIGHTS,)

    def prepare(self, clip: Clip) -> Floats:
        """Compute the vector."""
        data = Path(str(clip.need("manifest")["path"])).read_bytes()
        return features(data, weights_of(str(WEIGHTS)), self.params.pad_to, self.params.shifts)

    def infer(self, items: Sequence[Floats]) -> list[Row | Skip]:
        """Hand it on."""
        return [{"vector": item} for item in items]


def work() -> None:
    """Hash the files, then run the transform."""
    make_manifest()
    store = {"flush_s": float(os.environ["BENCH_FLUSH_S"])} if "BENCH_FLUSH_S" in os.environ else {}
    summary = run(
        Mel(MelParams(**params())),
        {"manifest": MANIFEST},
        RESULT,
        Path("quarantine.parquet"),
        shards=ShardParams(),
        quality=QualityParams(),
        runtime=Runtime(device="cpu", workers=int(os.environ.get("BENCH_WORKERS", "1")), store=StoreSettings(**store)),
    )
    Path("summary.json").write_text(json.dumps({"seconds": summary.seconds, **vars(summary.spent)}))


if __name__ == "__main__":
    measure(work)
