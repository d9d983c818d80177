"""Clips with two or three moving faces, of which one speaks: cuts, pans, close-ups of a listener.

The faces are the demo's: a photograph that is warped into different people who talk and change expression
(data/generator). The mouth of person 0 follows the sound. The others' mouths are still, smile, or, in a third of the
scenes, chew without regard to the sound. Everything is decided by the kind of scene and the seed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "data"))

from generator.acting import act  # noqa: E402 (the package lies beside the demo's data, not on the path)
from generator.face import Motion, _frame, _looks, _scene  # noqa: E402
from generator.plan import CLASSES, Cue, rng_of  # noqa: E402
from generator.speaker import Speaker, make_speaker  # noqa: E402
from generator.voice import RATE, speak  # noqa: E402

FPS = 12.5
SECONDS = 3.2
FRAMES = round(SECONDS * FPS)
SIZE = (360, 640)  # height and width
FACE = 84.0  # pixels from one side of a face to the other at scale 1, about the width of the detector's box

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Person:
    """Somebody in a scene.

    Attributes:
        speaker: how they look.
        motion: what their face does.
        scale: of the photograph.
        at: (FRAMES, 2) x and y of the middle of the face in the world, in pixels.
    """

    speaker: Speaker
    motion: Motion
    scale: float
    at: F64


@dataclass(frozen=True)
class Shot:
    """A run of frames from one camera: who is in front of it, where they are, and how it moves.

    Attributes:
        start, stop: indices of frames.
        people: (index of the person, scale, x and y in the world of the shot).
        scene: which background.
        camera: pixels that the camera moves to the right in each frame.
    """

    start: int
    stop: int
    people: tuple[tuple[int, float, float, float], ...]
    scene: int
    camera: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A clip and the truth about it.

    Attributes:
        frames: (FRAMES, height, width, 3) uint8.
        wave: (samples,) in -1..1 at RATE.
        faces: (people, FRAMES, 3): x and y of the middle of each face and its width, in pixels; NaN where it is not
            in the picture. Person 0 speaks.
        cuts: indices of the first frames of new shots.
    """

    frames: NDArray[np.uint8]
    wave: F64
    faces: F64
    cuts: tuple[int, ...]


def wide(rng: np.random.Generator, people: int) -> Shot:
    """All people beside each other, in any order, of different sizes."""
    order = rng.permutation(people)
    places = (np.arange(people) + 0.5) * SIZE[1] / people + rng.uniform(-25, 25, people)
    top = 1.15 if people == 2 else 0.85
    return Shot(
        0,
        FRAMES,
        tuple((int(who), rng.uniform(0.5, top), float(x), rng.uniform(130, 200)) for who, x in zip(order, places)),  # noqa: B905
        int(rng.integers(7)),
    )


def close(rng: np.random.Generator, who: int) -> Shot:
    """One person alone, large."""
    one = (who, rng.uniform(1.0, 1.6), rng.uniform(220, 420), rng.uniform(140, 190))
    return Shot(0, FRAMES, (one,), int(rng.integers(7)))


def cut(shots: list[Shot], at: list[int]) -> list[Shot]:
    """Put shots one after the other, with cuts at these frames."""
    edges = [0, *at, FRAMES]
    return [replace(shot, start=a, stop=b) for shot, a, b in zip(shots, edges, edges[1:], strict=False)]


def two(rng: np.random.Generator) -> list[Shot]:
    """Two people in one shot."""
    return [wide(rng, 2)]


def three(rng: np.random.Generator) -> list[Shot]:
    """Three people in one shot."""
    return [wide(rng, 3)]


def pan(rng: np.random.Generator) -> list[Shot]:
    """The camera moves past two or three people, so that some enter or leave the picture."""
    speed = float(rng.choice([-1, 1]) * rng.uniform(5, 12))
    shot = wide(rng, int(rng.integers(2, 4)))
    return [replace(shot, camera=speed, people=tuple((w, s, x + speed * FRAMES / 2, y) for w, s, x, y in shot.people))]


def reaction(rng: np.random.Generator) -> list[Shot]:
    """The speaker; a listener alone while the voice goes on; the speaker again, from the first camera."""
    first = close(rng, 0)
    a, b = int(rng.integers(12, 19)), int(rng.integers(25, 31))
    return cut([first, close(rng, 1), first], [a, b])


def insert(rng: np.random.Generator) -> list[Shot]:
    """Both in one shot, a listener in close-up, both again."""
    first = wide(rng, 2)
    a = int(rng.integers(10, 17))
    return cut([first, close(rng, 1), first], [a, a + int(rng.integers(7, 13))])


def over(rng: np.random.Generator) -> list[Shot]:
    """Two shots of both, from two cameras."""
    return cut([wide(rng, 2), wide(rng, 2)], [int(rng.integers(14, 26))])


KINDS: dict[str, Callable[[np.random.Generator], list[Shot]]] = {
    "two": two,
    "three": three,
    "pan": pan,
    "reaction": reaction,
    "insert": insert,
    "over": over,
}


def film(kind: str, seed: int) -> Scene:
    """Make the clip of a kind and a seed."""
    rng = rng_of(seed, "scene", kind)
    shots = KINDS[kind](rng)
    count = 1 + max(who for shot in shots for who, *_ in shot.people)
    numbers = rng.choice(np.arange(1, 43), size=7, replace=False)
    suits = {int(number) % 6: int(number) for number in numbers}  # no two wear the same
    names = [f"s{number:02d}" for number in list(suits.values())[:count]]
    looks = [make_speaker(seed, name) for name in names]
    gammas = rng.permutation([0.75, 1.0, 1.35])[:count]  # dark and light skin
    looks = [replace(one, gamma=float(gamma)) for one, gamma in zip(looks, gammas, strict=True)]
    wave, opening = _talk(looks[0], rng)
    chews = rng.random() < 1 / 3
    motions = []
    for at, look in enumerate(looks):
        mouth = opening if at == 0 else 0.5 * _talk(look, rng)[1] if chews else np.zeros(FRAMES)
        cue = Cue(str(rng.choice(CLASSES)), float(rng.uniform(0.2, 0.9)))
        motions.append(act(cue, mouth.astype(np.float32), FPS, rng_of(seed, "face", kind, str(at))))
    walks = np.cumsum(gaussian_filter(rng.normal(size=(count, FRAMES, 2)), (0, 4, 0)), axis=1) * 3.0
    frames = np.empty((FRAMES, *SIZE, 3), np.uint8)
    faces = np.full((count, FRAMES, 3), np.nan)
    for shot in shots:
        world = _world(looks[0], shot)
        for t in range(shot.start, shot.stop):
            left = max(0, round(shot.camera * t) + (0 if shot.camera >= 0 else -round(shot.camera * FRAMES)))
            frames[t] = world[:, left : left + SIZE[1]]
        back = sorted(shot.people, key=lambda person: person[1])
        for who, scale, x, y in back:
            moving = shot.camera * np.arange(FRAMES)
            place = np.stack([x + walks[who, :, 0] - moving, y + walks[who, :, 1]], axis=1)
            _draw(frames, looks[who], motions[who], scale, place, slice(shot.start, shot.stop), rng)
            for t in range(shot.start, shot.stop):
                if -0.2 * FACE * scale < place[t, 0] < SIZE[1] + 0.2 * FACE * scale:
                    faces[who, t] = (*place[t], FACE * scale)
    return Scene(frames, wave, faces, tuple(shot.start for shot in shots[1:]))


def _talk(speaker: Speaker, rng: np.random.Generator) -> tuple[F64, F64]:
    """Phrases with pauses: the sound, and how far the mouth is open in each frame (0..1)."""
    wave, opening = [], []
    total = round(SECONDS * RATE)
    while sum(map(len, wave)) < total:
        pause = np.zeros(round(rng.uniform(0.05, 0.5) * RATE))
        speech = speak(speaker, Cue(str(rng.choice(CLASSES)), 0.8), rng.uniform(1.2, 1.9), rng)
        wave += [pause, speech.wave]
        opening += [pause, speech.opening]
    middle = ((np.arange(FRAMES) + 0.5) / FPS * RATE).astype(int)
    return np.concatenate(wave)[:total] + 0.001 * rng.normal(size=total), np.concatenate(opening)[middle]


def _world(look: Speaker, shot: Shot) -> NDArray[np.uint8]:
    width = SIZE[1] + round(abs(shot.camera) * FRAMES) + 2
    picture = _scene(replace(look, scene=shot.scene), (SIZE[0], width))
    # Background that is out of focus has little to follow; some texture is on every real wall.
    texture = zoom(np.random.default_rng(shot.scene).normal(0, 6, (SIZE[0] // 8, width // 8)), 8, order=1)
    texture = np.pad(texture, ((0, SIZE[0] - texture.shape[0]), (0, width - texture.shape[1])), mode="edge")
    return np.clip(picture + texture[..., None], 0, 255).astype(np.uint8)


def _draw(
    frames: NDArray[np.uint8],
    look: Speaker,
    motion: Motion,
    scale: float,
    place: F64,
    when: slice,
    rng: np.random.Generator,
) -> None:
    """Draw a person into the frames of a shot, in front of what is there."""
    colours = _looks(look)
    half, above = round(140 * scale), round(115 * scale)
    for t in range(when.start, when.stop):
        x, y = (float(value) for value in place[t])
        x0, x1, y0 = max(0, round(x) - half), min(SIZE[1], round(x) + half), max(0, round(y) - above)
        if x1 - x0 < 8:
            continue
        down, across = np.mgrid[y0 : SIZE[0], x0:x1].astype(np.float32)
        px = (across - x) / scale * (-1 if look.mirror else 1)
        py = (down - y) / (scale * look.aspect)
        still = np.stack([px.ravel() + 225, py.ravel() + 122], axis=1).astype(np.float32)
        loose = (1 / (1 + np.exp((still[:, 1:] - 200) / 12))).astype(np.float32)  # as in `render`
        flat = _frame(look, colours, motion, t, still, loose)
        behind = frames[t, y0:, x0:x1].reshape(-1, 3)
        picture = flat[:, 3:] * flat[:, :3] + (1 - flat[:, 3:]) * behind + rng.normal(0, 1.0, (len(flat), 1))
        frames[t, y0:, x0:x1] = np.clip(np.rint(picture), 0, 255).reshape(*across.shape, 3)


def write(path: Path, scene: Scene) -> None:
    """Encode a scene as H.264 and AAC."""
    with av.open(str(path), "w", format="mp4") as out:
        options = {"crf": "25", "preset": "veryfast", "x264-params": "threads=1"}
        video = out.add_stream("libx264", rate=Fraction(FPS), options=options)
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        sound = out.add_stream("aac", rate=RATE, layout="mono")
        for picture in scene.frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
        for start in range(0, len(scene.wave), 1024):
            piece = scene.wave[start : start + 1024].astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
