"""What it costs to take faces from the decoded video instead of from the stored frames, side by side.

    python benchmarks/faces.py [--clips 12] [--repeats 3]

Writes faces.md beside it. Each clip goes through `tracks` in each way in turn, in one process with one thread; what is
compared is CPU time. The stored frames are what the stage read before it decoded the video: no mouth is seen to move
then, and a face has as many pixels as the stored frame gives it.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mer_pipeline.base.clips import Clip  # noqa: E402
from mer_pipeline.base.errors import Skip  # noqa: E402
from mer_pipeline.vision.detector import MtcnnParams  # noqa: E402
from mer_pipeline.vision.footage import from_frames  # noqa: E402
from mer_pipeline.vision.frames import FrameParams, Frames, SampleFrames  # noqa: E402
from mer_pipeline.vision.tracks import FollowFaces  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from tests.conftest import listed, valid  # noqa: E402
from tests.scenes import KINDS, film, write  # noqa: E402

PAGE = Path(__file__).with_suffix(".md")
# A way: whether the video is decoded, and the side of the pictures in which faces are searched.
WAYS = {
    "stored frames, searched at 320": (False, 320),
    "decoded video, searched at 320": (True, 320),
    "decoded video, searched at 640 (the default)": (True, 640),
}


@dataclass
class Figures:
    """CPU seconds of each clip in one way, and the sides of its faces in pixels of what they are cropped from."""

    prepared: list[float] = field(default_factory=list)
    inferred: list[float] = field(default_factory=list)
    sides: list[float] = field(default_factory=list)


def measure(steps: dict[str, FollowFaces], paths: list[Path], repeats: int) -> dict[str, Figures]:
    """Take each clip through each way, in turn."""
    found = {way: Figures() for way in WAYS}
    for path in paths:
        manifest = valid(**listed(path.parent, video=path.name))
        sampled = SampleFrames(FrameParams(), path.parent).prepare(Clip("a", "", {"manifest": manifest}))
        if isinstance(sampled, Skip):
            continue
        frames = valid(**sampled)
        clip = Clip("a", "", {"manifest": manifest, "frames": frames})
        for repeat in range(repeats):
            for way, (decodes, side) in WAYS.items():
                step, figures = steps[way], found[way]
                step.root = path.parent
                began = time.process_time()
                footage = step.prepare(clip) if decodes else from_frames(Frames.of(frames), side)
                middle = time.process_time()
                row = step.infer([footage])[0]
                figures.prepared.append(middle - began)
                figures.inferred.append(time.process_time() - middle)
                if not repeat and isinstance(row, dict):
                    longest = max(footage.pictures[0].shape[:2])
                    figures.sides += [float(person["side"]) * longest for person in row["people"]]
    return found


def table(found: dict[str, Figures]) -> list[str]:
    """A row for each way."""
    lines = [
        "| faces from | prepare | infer | both | ratio | pixels of a face |",
        "|---|---|---|---|---|---|",
    ]
    sums = {}
    for way, figures in found.items():
        one, two = statistics.median(figures.prepared), statistics.median(figures.inferred)
        sums[way] = one + two
        ratio, pixels = sums[way] / next(iter(sums.values())), statistics.median(figures.sides or [0.0])
        lines.append(f"| {way} | {one:.3f} | {two:.3f} | {sums[way]:.3f} | {ratio:.2f} | {pixels:.0f} |")
    return lines


def main() -> None:
    """Measure both sets, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    steps = {way: FollowFaces(MtcnnParams(detect_side=side), ROOT) for way, (_, side) in WAYS.items()}
    for step in steps.values():
        step.setup(torch.device("cpu"))
    demo = sorted((ROOT / "data/demo/video").glob("*.mp4"))
    demo = [demo[at] for at in np.linspace(0, len(demo) - 1, args.clips).round().astype(int)]
    lines = [
        "# Faces from the decoded video",
        "",
        f"`python benchmarks/faces.py --clips {args.clips} --repeats {args.repeats}`, {datetime.now(UTC):%Y-%m-%d}: "
        f"CPU seconds of one thread for each clip, medians. Python {platform.python_version()}.",
    ]
    with tempfile.TemporaryDirectory() as folder:
        scenes = []
        for at in range(args.clips):
            scenes.append(Path(folder) / f"{at}.mp4")
            write(scenes[-1], film(list(KINDS)[at % len(KINDS)], at))
        for name, paths in {
            "The demo's clips: one person, 2 s, 320 pixels wide": demo,
            "Scenes of tests/scenes.py: up to three people, 3.2 s, 640 pixels wide": scenes,
        }.items():
            lines += ["", f"## {name}", "", *table(measure(steps, paths, args.repeats))]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
