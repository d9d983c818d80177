"""Facts about the choice of the speaker: on made-up motion, and on a generated scene through all steps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mer_pipeline.base.clips import Clip
from mer_pipeline.media.sound import SAMPLE_RATE, read_sound
from mer_pipeline.vision.detector import MtcnnParams, PrimaryParams
from mer_pipeline.vision.faces import choose
from mer_pipeline.vision.frames import FrameParams, SampleFrames
from mer_pipeline.vision.mouth import FREQUENCIES, Motion
from mer_pipeline.vision.speaker import confidence, course, evidence, loudness
from mer_pipeline.vision.tracks import FollowFaces, Person
from tests.conftest import listed, valid
from tests.scenes import FPS, film, write

TIMES = np.arange(0.04, 3.0, 0.08)
VOICE = np.repeat(np.random.default_rng(0).random(15) > 0.4, SAMPLE_RATE // 5)
SOUND = (0.2 * np.random.default_rng(1).normal(size=len(VOICE)) * VOICE).astype(np.float32)


def person(mouth: np.ndarray, side: float = 0.1, shown: float = 1.0, opens: np.ndarray | None = None) -> Person:
    """Somebody whose mouth moves so much, over a face at rest, and opens so far; by default as it moves."""
    shape = np.zeros((len(TIMES), FREQUENCIES**2), np.float32)
    shape[:, 1] = 10 * (mouth if opens is None else opens)
    motion = Motion(TIMES, mouth.astype(np.float32), np.full(len(TIMES), 0.03, np.float32), shape)
    return Person({"crops": [b""] * 4, "times": [0.0] * 4}, shown, side, 0.1, motion)


def talks(sound: np.ndarray = SOUND) -> np.ndarray:
    """Motion that follows the voice."""
    return 0.03 + 0.06 * loudness(sound, TIMES)


STILL = np.full(len(TIMES), 0.03)


@pytest.mark.outcome("several faces", "the primary face is the speaker's by default (`faces.primary`)")
def test_whose_mouth_follows_the_voice_speaks() -> None:
    """Against a face three times as large whose mouth is still."""
    people = [person(STILL, side=0.3), person(talks())]
    at, speaks, sure = choose(people, SOUND, "speaker")
    assert (at, speaks) == (1, sure)
    assert sure > 0.8
    assert PrimaryParams().primary == "speaker"
    assert choose(people, SOUND, "largest")[0] == 0
    assert choose(people, SOUND, "listener")[0] == 0


def test_a_mouth_that_moves_without_regard_to_the_voice_does_not_speak() -> None:
    """Somebody chews: as much motion, at other times."""
    chews = talks()[::-1]
    assert choose([person(chews), person(talks())], SOUND, "speaker")[0] == 1


def test_whose_mouth_opens_with_the_voice_speaks() -> None:
    """Of two mouths that move alike, the one that is open when it is loud; slow changes of light do not matter."""
    noise = np.random.default_rng(3).normal(size=len(TIMES))
    opens = loudness(SOUND, TIMES) + np.linspace(0, 5, len(TIMES))
    people = [person(talks(), opens=noise), person(talks(), opens=opens)]
    told = [found.opening for found in evidence(people, SOUND)]
    assert told[0] < 0.4 < 0.8 < told[1]
    assert choose(people, SOUND, "speaker")[0] == 1


def test_what_tells_the_voice_was_not_fitted_to_it() -> None:
    """Sixteen numbers can be fitted to 37 moments, however they are (.65); of moments left out, noise tells little."""
    told = []
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=(len(TIMES), FREQUENCIES**2)).astype(np.float32)
        one = person(STILL)
        motion = Motion(TIMES, one.motion.mouth, one.motion.upper, noise)
        told.append(evidence([Person(one.row, 1.0, 0.1, 0.1, motion)], SOUND)[0].opening)
    assert np.mean(told) < 0.4  # chance at the best of five lags


def test_the_course_says_when(tmp_path: Path) -> None:
    """Somebody talks in the first half and is still in the second."""
    first = np.where(TIMES < 1.5, talks(), STILL)
    early, late = [], []
    for start, stop, score in course(person(first).motion, SOUND):
        assert start < stop
        (early if stop < 1.5 else late if start > 1.5 else []).append(score)
    assert min(early) > max(late)
    assert course(person(first).motion, None) == []


def test_without_sound_size_and_time_decide() -> None:
    """And nobody outside of the picture is thought of."""
    people = [person(talks()), person(STILL, side=0.3)]
    assert choose(people, None, "speaker")[0] == 1
    assert confidence(evidence(people[:1], None), 0) == 1.0


def test_a_still_mouth_alone_is_unsure() -> None:
    """The voice is somebody's who is not in the picture."""
    assert confidence(evidence([person(STILL)], SOUND), 0) < 0.4
    assert confidence(evidence([person(talks())], SOUND), 0) > 0.9


@pytest.mark.outcome("several faces", "done")
@pytest.mark.outcome("cuts from one shot to another", "done")
@pytest.mark.parametrize(("kind", "seed"), [("reaction", 0), ("two", 1)])
def test_a_generated_scene(kind: str, seed: int, tmp_path: Path) -> None:
    """Cuts are where they are, all crops of the primary face are the speaker's, and they are all there are."""
    scene = film(kind, seed)
    write(tmp_path / "a.mp4", scene)
    manifest = valid(**listed(tmp_path, video="a.mp4"))
    frames = SampleFrames(FrameParams(mode="uniform", n=8), tmp_path).prepare(Clip("a", "", {"manifest": manifest}))
    tracks = FollowFaces(MtcnnParams(), tmp_path)
    tracks.setup(torch.device("cpu"))
    row = tracks.infer([tracks.prepare(Clip("a", "", {"manifest": manifest, "frames": valid(**frames)}))])[0]
    assert isinstance(row, dict)
    assert [round(cut * FPS) for cut in row["cuts"]] == list(scene.cuts)
    people = [Person.of(one) for one in row["people"]]
    at, _, sure = choose(people, read_sound(tmp_path / "a.mp4", 60.0), "speaker")
    assert sure > 0.5
    chosen = people[at].row
    true = [scene.faces[0, round(moment * FPS)] for moment in chosen["times"]]
    for (x, y, width), (left, top, right, bottom) in zip(true, chosen["boxes"], strict=True):
        assert np.hypot((left + right) / 2 - x, (top + bottom) / 2 - y) < 0.5 * width
    assert len(true) == sum(not np.isnan(scene.faces[0, round(moment * FPS), 0]) for moment in frames["times"])
