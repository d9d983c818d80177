"""Facts about the engine `ray`, on a cluster that runs on this machine: it gives the bytes of the local engine."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import BadInput, CheckpointError, Skip, UsageError
from mer_pipeline.base.run import run
from mer_pipeline.base.runs import Summary
from mer_pipeline.base.runtime import RaySettings, Runtime, StoreSettings
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Section
from mer_pipeline.engines.cluster import RayEngine
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import ShardParams, write_table
from tests.conftest import clip

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
CLIPS = 120
MANIFEST = pa.schema([pa.field("clip_id", pa.string(), nullable=False), pa.field("x", pa.int64())])


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of four CPUs, on this machine."""
    place = tempfile.mkdtemp(prefix="ray-")  # a short path: the cluster's sockets lie in it
    port = 20_000 + os.getpid() % 10_000
    words = [
        "--head",
        "--block",
        f"--port={port}",
        "--num-cpus=4",
        "--include-dashboard=false",
        "--disable-usage-stats",
    ]
    started = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *words],
        env=os.environ | {"RAY_TMPDIR": place},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert _ends(lambda: _listens(port), 60), "the cluster has not started"
    yield f"127.0.0.1:{port}"
    started.terminate()  # this one, and no other cluster of this machine
    started.wait(30)


class Half(Transform[int]):
    """Half a number. 7 is broken, 8 has no result, and with 9 the first process that computes it ends."""

    name = "half"
    sources = (Source("manifest", ("x",)),)
    schema = pa.schema([pa.field("y", pa.float64())])
    params = Section()

    def __init__(self, marker: Path = Path()) -> None:
        self.marker = marker

    def key(self) -> dict[str, object]:
        """Where the marker lies changes no value."""
        return {"marker": None}

    def prepare(self, clip: Clip) -> int:
        x = int(str(clip.need("manifest")["x"]))
        if x == 7:
            raise BadInput("seven")
        return x

    def infer(self, items: Sequence[int]) -> list[Row | Skip]:
        if 9 in items and not self.marker.exists():
            self.marker.touch()
            os._exit(1)
        return [Skip("eight") if x == 8 else {"y": x / 2} for x in items]


class Unfit(Half):
    """A transform whose model does not fit."""

    name = "unfit"
    uses_torch = True

    def setup(self, device: object) -> None:
        raise CheckpointError("the model lacks its weights")


class Faulty(Half):
    """A transform with a bug that concerns no clip."""

    name = "faulty"
    uses_torch = True

    def setup(self, device: object) -> None:
        [][1]


def go(transform: Transform[int], folder: Path, settings: RaySettings, engine: str = "ray") -> Summary:
    rows = [{"clip_id": f"c{x:03}", "x": x} for x in range(CLIPS)]
    write_table(folder / "manifest.parquet", to_table(rows, MANIFEST))
    return run(
        transform,
        {"manifest": folder / "manifest.parquet"},
        folder / "out",
        folder / "quarantine.parquet",
        shards=ShardParams(count=4),
        quality=QualityParams(max_failed=0.1),
        runtime=Runtime(
            workers=2, device="cpu", engine=engine, ray=settings, store=StoreSettings(url=str(folder / "store"))
        ),
    )


def shards_in(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "out").iterdir())]


def test_a_run_on_a_cluster_that_loses_a_worker_has_the_bytes_of_a_local_one(
    cluster: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Broken and skipped clips too; nothing is computed twice afterwards, and no worker is left."""
    caplog.set_level(logging.INFO, "mer_pipeline")
    local, far = tmp_path / "local", tmp_path / "far"
    there, marker = tmp_path / "there", tmp_path / "marker"
    there.touch()
    go(Half(there), local, RaySettings(), engine="local")
    first = go(Half(marker), far, RaySettings(address=cluster, workers=2))
    assert marker.exists()
    assert "a worker was lost" in caplog.text
    assert "on the Ray cluster, with up to 2 workers" in caplog.text
    assert (first.computed, first.done, first.failed.total()) == (CLIPS, CLIPS - 2, 1)
    assert shards_in(far) == shards_in(local)
    assert go(Half(marker), far, RaySettings(address=cluster)).computed == 0
    assert not ray.is_initialized()
    assert _ends(lambda: not _workers()), _workers()


def test_an_unfit_model_is_one_sentence(cluster: str, tmp_path: Path) -> None:
    """The error is the one that a local run raises, not one about workers."""
    with pytest.raises(CheckpointError, match=r"^the model lacks its weights$"):
        go(Unfit(), tmp_path, RaySettings(address=cluster, workers=1))


def test_a_bug_in_a_worker_shows_its_line(cluster: str, tmp_path: Path) -> None:
    """The exception is the worker's own, and its cause has the lines of the worker's process."""
    with pytest.raises(IndexError) as caught:
        go(Faulty(), tmp_path, RaySettings(address=cluster, workers=1))
    assert "in setup" in str(caught.value.__cause__)


def test_small_work_needs_no_cluster(caplog: pytest.LogCaptureFixture) -> None:
    """It says so; no cluster is looked for."""
    caplog.set_level(logging.INFO, "mer_pipeline")
    engine = RayEngine(Half(), Runtime(device="cpu", ray=RaySettings(address="127.0.0.1:1", at_least=5)))
    engine.set_up()
    clips = [clip(str(x), manifest={"x": x}) for x in range(4)]
    assert len([outcome for some in engine.outcomes(clips) for outcome in some]) == 4
    assert engine.stop() == []
    assert "half: by this process, without the cluster" in caplog.text


def test_a_cluster_that_is_not_there_is_one_sentence() -> None:
    """It says how one is started."""
    engine = RayEngine(Half(), Runtime(device="cpu", ray=RaySettings(address="127.0.0.1:1", at_least=1)))
    with pytest.raises(
        UsageError, match=r"there is no Ray cluster at '127.0.0.1:1' .*start one with `ray start --head`"
    ):
        list(engine.outcomes([clip("a", manifest={"x": 1})]))
    assert engine.stop() == []


def _workers() -> list[str]:
    """The command lines of processes that are workers with an actor."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if line.startswith("ray::InFolder")]


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _ends(fact: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if fact():
            return True
        time.sleep(0.1)
    return False
