"""The odd clips that every real folder has, each with what a reader of the folder ought to make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage import data

from generator.clip import FRAMES, Take, film, perform
from generator.face import Images, render
from generator.plan import MODALITIES, Clip, rng_of
from generator.speaker import make_speaker
from generator.video import FPS, SIZE, write_mp4

ROW_WITHOUT_CLIP = "s14_0012"
"""In the subtitles, but there is no such file."""

NAMED = "s14_片段 0011"
"""A file name as people write them."""


@dataclass(frozen=True, slots=True)
class Odd:
    """One line of ``odd.csv``. ``expected`` is ``ok``, ``skip MODALITY``, ``quarantine`` or ``problem``."""

    name: str
    what: str
    expected: str
    note: str


KINDS: dict[str, tuple[str, str]] = {
    "zero bytes": ("quarantine", "the file is empty: nothing can be opened"),
    "truncated": ("quarantine", "cut in the middle of the media data: the header promises more frames than there are"),
    "no sound track": ("skip audio", "a picture without any audio stream; the face and the words are good"),
    "silent sound track": ("skip audio", "digital silence, every sample is zero"),
    "no face": ("skip face", "a still life; the voice and the words are good"),
    "two faces": ("ok", "the larger face, in front on the left, is the speaker"),
    "rotated": ("ok", "coded 320x240, to be turned by 90 degrees clockwise; upright it is 240x320"),
    "variable frame rate": ("ok", "frames 50 to 270 ms apart: the times must come from the stamps"),
    "one frame": ("ok", "a single picture with two seconds of sound"),
    "NaN subtitle": ("skip text", "the row is there, both of its cells are empty"),
    "clip without a subtitle row": ("skip text", "also a problem for ingest to list; the clip itself is good"),
    "subtitle row without a clip": ("problem", "ingest lists it; there is nothing to process"),
    "name with spaces and Chinese characters": ("ok", "an ordinary clip"),
}
"""What is expected of each kind, and why."""

IN_THE_POOL = {
    "s13_0001": "zero bytes",
    "s13_0002": "truncated",
    "s13_0003": "no face",
    "s13_0004": "two faces",
    "s13_0005": "rotated",
    "s13_0006": "one frame",
    "s13_0007": "clip without a subtitle row",
    NAMED: "name with spaces and Chinese characters",
}


def rename(clips: list[Clip]) -> list[Clip]:
    """The plan with one clip's name as people write them."""
    return [replace(c, name=NAMED) if c.name == "s14_0011" else c for c in clips]


def choose(clips: list[Clip]) -> list[Odd]:
    """Which clips are odd. In training and test only where what is missing would have told nothing anyway."""
    kinds = dict(IN_THE_POOL)
    kinds[_harmless(clips, "s03", "voice")] = "no sound track"
    kinds[_harmless(clips, "s10", "voice")] = "silent sound track"
    kinds[_harmless(clips, "s09", "words")] = "NaN subtitle"
    kinds[_harmless(clips, "s11", "face")] = "variable frame rate"
    kinds[ROW_WITHOUT_CLIP] = "subtitle row without a clip"
    return [Odd(name, what, *KINDS[what]) for name, what in sorted(kinds.items())]


def _harmless(clips: list[Clip], speaker: str, modality: str) -> str:
    """The speaker's first clip in which this modality does not tell the class."""
    column = MODALITIES.index(modality)
    return next(c.name for c in clips if c.speaker == speaker and (c.face, c.voice, c.words)[column].shows != c.label)


def write_clip(seed: int, clip: Clip, what: str | None, path: Path) -> None:
    """Write the clip's file, with what is odd about it."""
    writer = WRITERS.get(what or "", _write_plain)
    writer(seed, clip, path)


def _write_plain(seed: int, clip: Clip, path: Path) -> None:
    take = film(seed, clip)
    write_mp4(path, take.frames, take.wave)


def _write_empty(seed: int, clip: Clip, path: Path) -> None:
    path.write_bytes(b"")


def _write_truncated(seed: int, clip: Clip, path: Path) -> None:
    _write_plain(seed, clip, path)
    whole = path.read_bytes()
    start = whole.index(b"mdat")  # the index comes before it, so the first such bytes are the box's
    path.write_bytes(whole[: start + (len(whole) - start) // 2])


def _write_mute(seed: int, clip: Clip, path: Path) -> None:
    write_mp4(path, film(seed, clip).frames, None)


def _write_silent(seed: int, clip: Clip, path: Path) -> None:
    take = film(seed, clip)
    write_mp4(path, take.frames, np.zeros_like(take.wave))


def _write_still_life(seed: int, clip: Clip, path: Path) -> None:
    coffee = data.coffee().astype(np.float32)  # type: ignore[no-untyped-call]
    picture = gaussian_filter(coffee, (1, 1, 0))
    h, w = SIZE
    drift = [picture[20 + t : 20 + t + h, 150 + t : 150 + t + w] for t in range(FRAMES)]
    write_mp4(path, np.stack(drift).astype(np.uint8), film(seed, clip).wave)


def _write_two_faces(seed: int, clip: Clip, path: Path) -> None:
    front = replace(make_speaker(seed, clip.speaker), centre=(0.33, 0.5), scale=0.95, aspect=1.0)
    back = replace(make_speaker(seed, "s04"), centre=(0.80, 0.36), scale=0.42, scene=front.scene)
    motion, wave = perform(seed, clip, front)
    grain = rng_of(seed, "grain", clip.name)
    other, _ = perform(seed, replace(clip, name=f"{clip.name} behind"), back)
    write_mp4(path, render(front, motion, SIZE, grain, behind=render(back, other, SIZE, grain)), wave)


def _write_rotated(seed: int, clip: Clip, path: Path) -> None:
    speaker = make_speaker(seed, clip.speaker)
    motion, wave = perform(seed, clip, speaker)
    upright: Images = render(speaker, motion, (SIZE[1], SIZE[0]), rng_of(seed, "grain", clip.name))
    write_mp4(path, np.ascontiguousarray(np.rot90(upright, axes=(1, 2))), wave, turn=-90)


def _write_variable(seed: int, clip: Clip, path: Path) -> None:
    take = film(seed, clip)
    # Each frame where it belongs in time or one frame late, and some are lost: true times, uneven steps.
    rng = rng_of(seed, "uneven", clip.name)
    kept = np.sort(np.concatenate([[0], rng.choice(np.arange(1, FRAMES), FRAMES - 6, replace=False)]))
    late = np.where(kept > 0, rng.uniform(0, 0.4, len(kept)), 0)
    write_mp4(path, take.frames[kept], take.wave, times=[float(t) for t in (kept + late) / float(FPS)])


def _write_one_frame(seed: int, clip: Clip, path: Path) -> None:
    take: Take = film(seed, clip)
    middle = FRAMES // 2
    write_mp4(path, take.frames[middle : middle + 1], take.wave)


WRITERS: dict[str, Callable[[int, Clip, Path], None]] = {
    "zero bytes": _write_empty,
    "truncated": _write_truncated,
    "no sound track": _write_mute,
    "silent sound track": _write_silent,
    "no face": _write_still_life,
    "two faces": _write_two_faces,
    "rotated": _write_rotated,
    "variable frame rate": _write_variable,
    "one frame": _write_one_frame,
}
