"""Which person of a clip speaks: how a mouth moves while there is a voice, and how large and how long a face is seen.

Three numbers tell a speaker's mouth from a listener's. `activity` is how much the mouth moves while there is a voice,
against the upper face. `agreement` is the correlation of that motion with the loudness of the voice over time.
`opening` says how well the loudness can be told from what the mouth looks like: a ridge regression is fitted on four
fifths of the time, and what it tells of the other fifth is correlated with the loudness. Slow changes are taken off
both before, because a head that turns changes a mouth's look, too. All three count the less, the shorter the face was
seen to move. A person's score is a sum of these and of the size, the time on screen and the sharpness of the face,
each against the largest of the clip's people.

The rivals of the person with the highest score are the others, and somebody who is not in the picture. The confidence
is the logistic function of the margin to the nearest rival. Where nothing is heard or no motion could be measured,
size and time alone decide, and nobody outside of the picture is thought of.

The weights were chosen on the generated scenes of benchmarks/speakers.py with other seeds than those that it reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.vision.mouth import Motion
from mer_pipeline.vision.tracks import Person

Doubles = npt.NDArray[np.float64]

STEP = 160  # samples, 10 ms: of the voice's loudness
RANGE = 40.0  # dB below the loudest that count as silence at most
BLUR = 9  # steps over which the loudness is averaged, about the time between two grey copies
LAGS = (-0.04, 0.0, 0.04, 0.08, 0.12)  # seconds that the sound may be late; what nobody notices (ITU-R BT.1359)
SMOOTH = 3  # motions that are averaged: lips pass through their turning points at rest
FLOOR = 0.01  # of the contrast: motion that is noise of the picture's compression
SLOW = 0.56  # seconds: what changes more slowly is no speech
BLOCKS = 5  # of time, each of which is told from the others
RIDGE = 0.03  # of the regression, for a mouth whose look has a variance of 1 in all
FEW = 8.0  # motions with which the three numbers count half
WINDOW = 14  # motions of one piece of `course`, about a second
TOO_FEW = 10  # motions that are no base for a regression: with fewer, `opening` says nothing

# In units of log-odds, for activity, agreement and opening. A speaker has about 0.5, 0.7 and 0.6, a listener 0.05, 0.15
# and 0.1.
COUNTS = np.array([5.0, 3.0, 5.7])
USUAL = np.array([0.25, 0.4, 0.3])
SIZE = 0.5  # for a factor of e in the face's side: of two equal mouths the nearer is the likelier
SHOWN = 0.5  # likewise in the time on screen
SHARP = 0.2  # likewise in sharpness: the camera focuses on who speaks
OUTSIDE = -1.5  # the score of somebody who is not in the picture: speakers mostly are


@dataclass(frozen=True)
class Evidence:
    """What speaks for a person as the speaker.

    Attributes:
        activity, agreement, opening: as in the module's text, 0 where they could not be measured.
        weight: from 0, nothing could be measured, to nearly 1.
        score: the sum, in log-odds.
    """

    activity: float
    agreement: float
    opening: float
    weight: float
    score: float


def loudness(sound: npt.NDArray[np.float32], times: Doubles) -> Doubles:
    """Measure how loud a voice is at some moments.

    Args:
        sound: (samples,) float32 at SAMPLE_RATE.
        times: (n,) float64 seconds.

    Returns:
        (n,) float64 from 0, silence, to 1, the loudest of the clip; linear in dB.
    """
    count = len(sound) // STEP
    if count < BLUR:
        return np.zeros(len(times))
    power = np.square(sound[: count * STEP].reshape(count, STEP).astype(np.float64)).mean(axis=1)
    level = 10 * np.log10(power + 1e-10)
    top = float(np.percentile(level, 95))
    low = max(float(np.percentile(level, 5)), top - RANGE)
    share = np.clip((level - low) / max(top - low, 6.0), 0.0, 1.0)
    smooth = np.convolve(np.pad(share, BLUR // 2, mode="edge"), np.full(BLUR, 1 / BLUR), "valid")
    return np.interp(times, (np.arange(count) + 0.5) * STEP / SAMPLE_RATE, smooth)


def talking(motion: Motion) -> Doubles:
    """Return how much more a mouth moves than the upper face, at each moment: (n,) float64, natural logarithm."""
    more = np.log((motion.mouth + FLOOR) / (motion.upper + FLOOR)).astype(np.float64)
    padded = np.pad(more, SMOOTH // 2, mode="edge")
    return np.convolve(padded, np.full(SMOOTH, 1 / SMOOTH), "valid")


def evidence(people: Sequence[Person], sound: npt.NDArray[np.float32] | None) -> list[Evidence]:
    """Weigh what speaks for each person as the speaker.

    Args:
        people: of one clip, at least one.
        sound: (samples,) float32 at SAMPLE_RATE; None if there is none.
    """
    seen = np.log([[max(p.side, 1e-3), max(p.shown, 1e-3), max(p.sharpness, 1e-3)] for p in people])
    nearness = (seen - seen.max(axis=0)) @ np.array([SIZE, SHOWN, SHARP])
    found = []
    for person, near in zip(people, nearness, strict=True):
        numbers, weight = _heard(person.motion, sound)
        heard = weight * float((numbers - USUAL) @ COUNTS)
        activity, agreement, opening = (float(number) for number in numbers)
        found.append(Evidence(activity, agreement, opening, weight, heard + float(near)))
    return found


def _heard(motion: Motion, sound: npt.NDArray[np.float32] | None) -> tuple[Doubles, float]:
    """Activity, agreement and opening, and how much they count."""
    count = len(motion.times)
    voice = np.zeros(0) if sound is None or count < SMOOTH else loudness(sound, motion.times)
    if sound is None or voice.sum() < 1.0:
        return np.zeros(3), 0.0
    talk = talking(motion)
    activity = float(np.clip((voice * talk).sum() / voice.sum(), -0.5, 1.0))
    voices = [loudness(sound, motion.times + lag) for lag in LAGS]
    agreement = max(_correlation(talk, voice) for voice in voices)
    runs = _runs(motion.times)
    looks = _quick(motion.shape.astype(np.float64), motion.times, runs)
    opening = max(_told(looks, _quick(voice[:, None], motion.times, runs)[:, 0]) for voice in voices)
    if count < TOO_FEW:
        opening = float(USUAL[2])
    return np.array([activity, agreement, opening]), count / (count + FEW)


def course(motion: Motion, sound: npt.NDArray[np.float32] | None) -> list[tuple[float, float, float]]:
    """Weigh what a mouth says for its owner as the speaker, over time.

    Args:
        motion: of the mouth.
        sound: (samples,) float32 at SAMPLE_RATE; None if there is none.

    Returns:
        Start and end in seconds, and the part of the score that is heard, for pieces of WINDOW motions without a gap.
    """
    found = []
    for run in _runs(motion.times) if len(motion.times) else []:
        for start in range(run.start, run.stop - WINDOW + 1, WINDOW // 2):
            part = slice(start, start + WINDOW)
            piece = Motion(motion.times[part], motion.mouth[part], motion.upper[part], motion.shape[part])
            numbers, weight = _heard(piece, sound)
            if weight:
                middle = start + WINDOW // 4, start + WINDOW // 4 + WINDOW // 2
                ends = (float(motion.times[middle[0]]), float(motion.times[min(middle[1], run.stop - 1)]))
                found.append((*ends, weight * float((numbers - USUAL) @ COUNTS)))
    return found


def _runs(times: Doubles) -> list[slice]:
    """The stretches of time without a gap."""
    steps = np.diff(times)
    gaps = np.flatnonzero(steps > 2.5 * np.median(steps)) + 1
    edges = [0, *(int(gap) for gap in gaps), len(times)]
    return [slice(one, other) for one, other in pairwise(edges)]


def _quick(values: Doubles, times: Doubles, runs: Sequence[slice]) -> Doubles:
    """Take off the mean over SLOW seconds around each moment: (n, k) float64."""
    width = 2 * max(1, round(SLOW / float(np.median(np.diff(times))) / 2)) + 1
    pieces = [values[run] - uniform_filter1d(values[run], width, axis=0, mode="nearest") for run in runs]
    return np.concatenate(pieces)


def _told(looks: Doubles, voice: Doubles) -> float:
    """How well the voice is told from a mouth's looks: the correlation over blocks of time, each left out in turn."""
    looks = looks / max(1e-6, float(np.sqrt(np.square(looks).sum() / len(looks))))
    told = np.zeros(len(voice))
    for block in np.array_split(np.arange(len(voice)), BLOCKS):
        rest = np.setdiff1d(np.arange(len(voice)), block)
        if not len(rest):
            continue
        mean, usual = looks[rest].mean(axis=0), voice[rest].mean()
        seen = looks[rest] - mean
        squares = seen.T @ seen + RIDGE * len(rest) * np.eye(looks.shape[1])
        weights = np.linalg.solve(squares, seen.T @ (voice[rest] - usual))
        told[block] = (looks[block] - mean) @ weights + usual
    return _correlation(told, voice)


def _correlation(one: Doubles, other: Doubles) -> float:
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread > 1e-6 else 0.0


def confidence(found: Sequence[Evidence], at: int) -> float:
    """Return how sure it is that a person speaks: from 0 to 1.

    Args:
        found: the evidence of all people.
        at: which of them.
    """
    rivals = [one.score for index, one in enumerate(found) if index != at]
    if any(one.weight for one in found):
        rivals.append(OUTSIDE)
    if not rivals:
        return 1.0
    return float(1 / (1 + np.exp(max(rivals) - found[at].score)))
