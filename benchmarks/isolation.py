"""What it costs to decode in processes of their own, beside decoding in threads of the stage's process.

    python benchmarks/isolation.py [--repeats 5] [--manifest data/manifest.parquet] [--root data/demo]

Each run is a process of its own, without a store, and the two ways take turns. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import mer_pipeline  # noqa: E402, F401, I001  # before NumPy, which it tells how to compute

import av  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from idle import BUSY, Meanwhile  # noqa: E402

from mer_pipeline.base.clips import Clip, Row  # noqa: E402
from mer_pipeline.base.run import run  # noqa: E402
from mer_pipeline.base.runs import quiet  # noqa: E402
from mer_pipeline.base.runtime import Runtime, StoreSettings  # noqa: E402
from mer_pipeline.base.transform import Transform  # noqa: E402
from mer_pipeline.datasets.listing import Entry  # noqa: E402
from mer_pipeline.datasets.probe import ProbeMedia, look  # noqa: E402
from mer_pipeline.engines import local  # noqa: E402
from mer_pipeline.engines.base import prepare  # noqa: E402
from mer_pipeline.engines.isolation import CLIPS, Isolation  # noqa: E402
from mer_pipeline.speech.track import AudioParams, ExtractAudio  # noqa: E402
from mer_pipeline.tables.quarantine import QualityParams  # noqa: E402
from mer_pipeline.tables.shards import ShardParams  # noqa: E402
from mer_pipeline.vision.frames import FrameParams, SampleFrames  # noqa: E402

STEPS = ("probe", "frames", "audio")
WAYS = {"threads": "in threads", "processes": "in processes"}
PICTURES = (8, 1080, 1920, 3)


class InThreads(Isolation[Row]):
    """As it was before: no process."""

    def __init__(self, transform: Transform[Row]) -> None:
        self.prepare = lambda clip: prepare(transform, clip)

    def close(self) -> None:
        """Nothing to end."""


class Pictures(Transform[object]):
    """Gives what a few pictures of full size take, without decoding any."""

    decodes = True

    def prepare(self, clip: Clip) -> object:
        """The pictures, or none of them."""
        return np.zeros(PICTURES if clip.clip_id == "pictures" else 0, np.uint8)

    def infer(self, items: Sequence[object]) -> list[Row]:
        """Not called."""
        return []


def one(step: str, manifest: Path, root: Path) -> dict[str, float]:
    """Seconds of a cold run of a step in this process: of the clock, and of all CPUs."""
    began, used = time.perf_counter(), sum(os.times()[:4])
    runtime = Runtime(store=StoreSettings(url="none"))
    if step == "probe":
        rows = pq.read_table(manifest, columns=["clip_id", "video", "audio"]).to_pylist()
        entries = [Entry(row["clip_id"], video=row["video"], audio=row["audio"]) for row in rows]
        look(ProbeMedia(root), entries, root, runtime, quiet)
    else:
        made = SampleFrames(FrameParams(), root) if step == "frames" else ExtractAudio(AudioParams(), root)
        quality = QualityParams(max_failed=1.0)
        run(made, {"manifest": manifest}, Path("rows"), Path("q.parquet"), shards=ShardParams(), quality=quality,
            runtime=runtime)  # fmt: skip
    return {"clock": time.perf_counter() - began, "cpu": sum(os.times()[:4]) - used}


def child(step: str, way: str, manifest: Path, root: Path) -> dict[str, float]:
    """`one` in a process and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(Path(__file__).resolve()), "--one", step, way]
        words += ["--manifest", str(manifest.resolve()), "--root", str(root.resolve())]
        done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, check=True)
        return {key: float(value) for key, value in json.loads(done.stdout).items()}


def milliseconds(work: Callable[[], object], times: int = 20) -> float:
    """The median of a few."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def parts() -> dict[str, float]:
    """Milliseconds of what isolation is made of."""
    isolated = Isolation(Pictures())
    try:
        start = milliseconds(lambda: isolated._end(isolated._new_one()))
        empty = milliseconds(lambda: isolated.prepare(Clip("empty", "", {})))
        full = milliseconds(lambda: isolated.prepare(Clip("pictures", "", {})))
    finally:
        isolated.close()
    return {
        f"start and end a decoding process (once in {CLIPS} clips)": start,
        "a clip there and nothing back": empty,
        f"{PICTURES[0]} pictures of {PICTURES[2]}x{PICTURES[1]} back ({np.prod(PICTURES) / 1e6:.0f} MB)": full,
    }


def row(step: str, clips: int, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A line of the table."""
    cells = [step]
    for key in ("clock", "cpu"):
        medians = {way: statistics.median(taken[key] for taken in runs[way]) for way in WAYS}
        added = 1000 * (medians["processes"] - medians["threads"]) / clips
        cells += [*(f"{medians[way]:.2f}" for way in WAYS), f"{added:+.1f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=2, metavar=("STEP", "WAY"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--manifest", type=Path, default=Path("data/manifest.parquet"))
    parser.add_argument("--root", type=Path, default=Path("data/demo"))
    parser.add_argument("--out", type=Path, default=HERE / "isolation.md")
    args = parser.parse_args()
    if args.one:
        step, way = args.one
        if way == "threads":
            local.Isolation = InThreads
        print(json.dumps(one(step, args.manifest, args.root)))
        return
    clips, meanwhile = pq.read_metadata(args.manifest).num_rows, Meanwhile()
    taken = {step: {way: [] for way in WAYS} for step in STEPS}
    for _ in range(args.repeats):
        for step in STEPS:
            for way in WAYS:
                taken[step][way].append(child(step, way, args.manifest, args.root))
    made_of, others, cores = parts(), meanwhile.others(), os.cpu_count()
    judged = "" if others <= BUSY else " The machine was busy, so compare the CPU time and not the clock."
    lines = [
        "# Decoding in processes of their own",
        "",
        f"`python benchmarks/isolation.py --repeats {args.repeats}`, {datetime.now(UTC):%Y-%m-%d}: {clips} clips of "
        f"the demo, cold and without a store, {cores} workers on {cores} cores; medians of {args.repeats}. "
        f"Python {platform.python_version()}, PyAV {av.__version__}. "
        f"Other processes took {others:.0f} % of the CPU time meanwhile.{judged}",
        "",
        "| step | clock, in threads (s) | in processes (s) | added for a clip (ms) | CPU, in threads (s) "
        "| in processes (s) | added for a clip (ms) |",
        "|---|---|---|---|---|---|---|",
        *(row(step, clips, taken[step]) for step in STEPS),
        "",
        "| part | ms |",
        "|---|---|",
        *(f"| {name} | {value:.1f} |" for name, value in made_of.items()),
        "",
    ]
    args.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
