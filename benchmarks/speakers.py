"""Whether the primary face is the speaker's: generated scenes of two and three people (tests/scenes.py).

    python benchmarks/speakers.py --seeds 7-11              writes benchmarks/speakers.md
    python benchmarks/speakers.py --seeds 7-8 --page x.html  and a page to look at: people, cuts, motion and sound

Seeds 0 to 6 served to choose the weights of mer_pipeline/vision/speaker.py; others are held out.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mer_pipeline.base.clips import Clip, Row  # noqa: E402
from mer_pipeline.media.sound import read_sound  # noqa: E402
from mer_pipeline.vision.detector import MtcnnParams, PrimaryParams  # noqa: E402
from mer_pipeline.vision.faces import choose  # noqa: E402
from mer_pipeline.vision.frames import FrameParams, SampleFrames  # noqa: E402
from mer_pipeline.vision.speaker import evidence, loudness, talking  # noqa: E402
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


def run(kind: str, seed: int, tracks: FollowFaces, folder: Path) -> tuple[Result, str]:
    """One scene, and its part of the page."""
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
    return result, picture_of(f"{kind} {seed}", row, people, sound, at, truth)


def picture_of(
    name: str, row: Row, people: list[Person], sound: np.ndarray, chosen: int, truth: list[list[int]]
) -> str:
    """The people of a scene with their crops, score, and mouth (line) against loudness (grey) over time."""
    parts = [f"<h2>{escape(name)}</h2><p>cuts at {', '.join(f'{cut:.2f} s' for cut in row['cuts']) or 'none'}</p>"]  # type: ignore[attr-defined]
    for at, (person, found) in enumerate(zip(people, evidence(people, sound), strict=True)):
        crops = "".join(
            f'<img height=64 src="data:image/jpeg;base64,{base64.b64encode(crop).decode()}">'
            for crop in person.row["crops"][:12]  # type: ignore[index]
        )
        times = person.motion.times
        talk = talking(person.motion) if len(times) > 2 else np.zeros(len(times))
        line = " ".join(f"{180 * t:.0f},{50 - 25 * v:.0f}" for t, v in zip(times, talk, strict=True))
        voice = " ".join(f"{180 * t:.0f},{60 - 50 * v:.0f}" for t, v in zip(times, loudness(sound, times), strict=True))
        parts.append(
            f"<div class={'chosen' if at == chosen else 'other'}>{crops}<br>true {sorted(set(truth[at]))}, score "
            f"{found.score:.2f}, activity {found.activity:.2f}, agreement {found.agreement:.2f}<br>"
            f'<svg width=600 height=64><polyline points="{voice}" fill=none stroke=#bbb stroke-width=4 />'
            f'<polyline points="{line}" fill=none stroke=#06c stroke-width=2 /></svg></div>'
        )
    return "".join(parts)


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
    parser.add_argument("--seeds", default="7-11")
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
        style = "<style>.chosen{border:4px solid #080}.other{border:1px solid #ccc}div{margin:8px;padding:4px}</style>"
        args.page.write_text(style + "".join(part for _, part in done), encoding="utf-8")


if __name__ == "__main__":
    main()
