"""Which person of a clip speaks: how a mouth moves while there is a voice, and how large and how long a face is seen.

Two numbers tell a speaker's mouth from a listener's. `activity` is how much the mouth moves while there is a voice,
against the upper face. `agreement` is the correlation of that motion with the loudness of the voice over time. Both
count the less, the shorter the face was seen to move. A person's score is a sum of these and of the size, the time on
screen and the sharpness of the face, each against the largest of the clip's people.

The rivals of the person with the highest score are the others, and somebody who is not in the picture. The confidence
is the logistic function of the margin to the nearest rival. Where nothing is heard or no motion could be measured,
size and time alone decide, and nobody outside of the picture is thought of.

The weights were chosen on the generated scenes of benchmarks/speakers.py with other seeds than those that it reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
FEW = 8.0  # motions with which activity and agreement count half

# In units of log-odds. A speaker has an activity near 0.5 and an agreement near 0.7, a listener 0.05 and 0.15.
ACTIVITY, USUAL_ACTIVITY = 5.0, 0.25
AGREEMENT, USUAL_AGREEMENT = 4.0, 0.4
SIZE = 0.7  # for a factor of e in the face's side: of two equal mouths the nearer is the likelier
SHOWN = 0.7  # likewise in the time on screen
SHARP = 0.3  # likewise in sharpness: the camera focuses on who speaks
OUTSIDE = -1.0  # the score of somebody who is not in the picture: speakers mostly are


@dataclass(frozen=True)
class Evidence:
    """What speaks for a person as the speaker.

    Attributes:
        activity, agreement: as in the module's text, 0 where they could not be measured.
        weight: from 0, nothing could be measured, to nearly 1.
        score: the sum, in log-odds.
    """

    activity: float
    agreement: float
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
        activity, agreement, weight = _heard(person.motion, sound)
        heard = ACTIVITY * (activity - USUAL_ACTIVITY) + AGREEMENT * (agreement - USUAL_AGREEMENT)
        found.append(Evidence(activity, agreement, weight, weight * heard + float(near)))
    return found


def _heard(motion: Motion, sound: npt.NDArray[np.float32] | None) -> tuple[float, float, float]:
    count = len(motion.times)
    if sound is None or count < SMOOTH:
        return 0.0, 0.0, 0.0
    voice = loudness(sound, motion.times)
    if voice.sum() < 1.0:
        return 0.0, 0.0, 0.0
    talk = talking(motion)
    activity = float(np.clip((voice * talk).sum() / voice.sum(), -0.5, 1.0))
    agreement = max(_correlation(talk, loudness(sound, motion.times + lag)) for lag in LAGS)
    return activity, agreement, count / (count + FEW)


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
