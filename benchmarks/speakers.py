"""Whether the primary face is the speaker's: generated scenes of two and three people (tests/scenes.py).

    python benchmarks/speakers.py --seeds 100-109               writes benchmarks/speakers.md
    python benchmarks/speakers.py --seeds 100-101 --page x.html  and a page to look at: people, cuts, mouths and sound

Seeds 0 to 39 served to choose the weights of mer_pipeline/vision/speaker.py; others are held out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mer_pipeline.base.clips import Clip, Row  # noqa: E402
from mer_pipeline.media.sound import read_sound  # noqa: E402
from mer_pipeline.report.people import View, page_of, view_of  # noqa: E402
from mer_pipeline.vision.detector import MtcnnParams, PrimaryParams  # noqa: E402
from mer_pipeline.vision.faces import choose  # noqa: E402
from mer_pipeline.vision.frames import FrameParams, SampleFrames  # noqa: E402
from mer_pipeline.vision.tracks import FollowFaces, Person  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402

from tests.conftest import listed, valid  # noqa: E402
from tests.scenes import FPS, KINDS, Scene, film, write  # noqa: E402

PAGE = Path(__file__).with_suffix(".md")
PROFILE = FrameParams(mode="fps", fps=4.0, max_frames=32)  # as profiles/ecmf.yaml


@dataclass(frozen=True)
class Result:
    """What became of one scene.

    Attributes:
        kind: of the scene.
        right, largest: whether most crops of the chosen person, and of the largest, are the speaker's.
        masked: no face was sure enough.
        crops, wrong, shown: crops of the primary face, those of somebody else, and all crops of the speaker.
        cuts: whether all cuts and no others were found.
        seconds: of the CPU, for prepare and infer of `tracks`.
    """

    kind: str
    right: bool
    largest: bool
    masked: bool
    crops: int
    wrong: int
    shown: int
    cuts: bool
    seconds: float


def names(person: Row, scene: Scene) -> list[int]:
    """Who each crop of a person really is: the number of the nearest true face, or -1 if none is near."""
    found = []
    for moment, box in zip(person["times"], person["boxes"], strict=True):  # type: ignore[arg-type]
        true = scene.faces[:, min(round(moment * FPS), scene.faces.shape[1] - 1)]
        middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
        far = np.hypot(*(true[:, :2] - middle).T) / true[:, 2]
        far = np.where(np.isnan(far), np.inf, far)
        found.append(int(far.argmin()) if far.min() < 0.7 else -1)
    return found


def run(kind: str, seed: int, tracks: FollowFaces, folder: Path) -> tuple[Result, View]:
    """One scene, and what the page shows of it."""
    scene = film(kind, seed)
    path = folder / f"{kind}-{seed}.mp4"
    write(path, scene)
    manifest = valid(**listed(folder, video=path.name))
    frames = valid(**SampleFrames(PROFILE, folder).prepare(Clip("a", "", {"manifest": manifest})))
    tracks.root = folder
    start = time.process_time()
    row = tracks.infer([tracks.prepare(Clip("a", "", {"manifest": manifest, "frames": frames}))])[0]
    seconds = time.process_time() - start
    sound = read_sound(path, 60.0)
    assert isinstance(row, dict)
    rows: list[Row] = row["people"]
    people = [Person.of(person) for person in rows]
    truth = [names(person, scene) for person in rows]
    at, _, sure = choose(people, sound, "speaker")
    largest, _, _ = choose(people, sound, "largest")
    masked = sure < PrimaryParams().min_confidence
    kept = [] if masked else truth[at]
    cuts = [round(moment * FPS) for moment in row["cuts"]] == list(scene.cuts)
    result = Result(
        kind,
        *(2 * truth[one].count(0) > len(truth[one]) for one in (at, largest)),
        masked,
        len(kept),
        sum(one != 0 for one in kept),
        sum(one.count(0) for one in truth),
        cuts,
        seconds,
    )
    said = f"confidence {sure:.2f}, {'right' if result.right else 'wrong'}"
    called = ["speaker" if one.count(0) == len(one) else f"true {sorted(set(one))}" for one in truth]
    return result, view_of(f"{kind} {seed}", row, sound, None if masked else at, said, called)


def table(results: list[Result]) -> list[str]:
    """The page's table: a row per kind of scene, and one for all."""
    lines = [
        "| scenes | n | speaker chosen | largest is speaker | crops of others | speaker's crops kept | cuts | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in [*KINDS, "all"]:
        some = [one for one in results if kind in (one.kind, "all")]
        if some:
            crops, wrong = sum(one.crops for one in some), sum(one.wrong for one in some)
            lines.append(
                f"| {kind} | {len(some)} | {np.mean([one.right for one in some]):.1%} | "
                f"{np.mean([one.largest for one in some]):.1%} | {wrong / max(1, crops):.1%} | "
                f"{(crops - wrong) / max(1, sum(one.shown for one in some)):.1%} | "
                f"{np.mean([one.cuts for one in some]):.1%} | {np.mean([one.seconds for one in some]):.1f} |"
            )
    return lines


def main() -> None:
    """Make scenes, run the real steps on them, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="100-109")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    first, last = (int(part) for part in args.seeds.split("-"))
    torch.set_num_threads(1)
    tracks = FollowFaces(MtcnnParams(), Path())
    tracks.setup(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        done = [run(kind, seed, tracks, Path(folder)) for seed in range(first, last + 1) for kind in KINDS]
    text = [
        "# Whose face is the primary one",
        "",
        f"Written by `python benchmarks/speakers.py --seeds {args.seeds}`, on the scenes of tests/scenes.py.",
        "",
        *table([result for result, _ in done]),
    ]
    PAGE.write_text("\n".join(text) + "\n", encoding="utf-8")
    if args.page:
        args.page.write_text(page_of([view for _, view in done], "Generated scenes"), encoding="utf-8")


if __name__ == "__main__":
    main()
