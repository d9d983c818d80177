"""One clip: from its line in the plan to pictures, sound and subtitle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from generator.acting import act
from generator.face import F32, Images, Motion, render
from generator.plan import Clip, rng_of
from generator.speaker import Speaker, make_speaker
from generator.video import FPS, SECONDS, SIZE
from generator.voice import F64, RATE, speak
from generator.words import Pair, say

FRAMES = int(SECONDS * FPS)


@dataclass(frozen=True, slots=True)
class Take:
    """What was filmed: frames (T, H, W, 3) uint8 and a mono wave (N,)."""

    frames: Images
    wave: F64


def film(seed: int, clip: Clip) -> Take:
    """The clip as planned, in its speaker's usual surroundings."""
    speaker = make_speaker(seed, clip.speaker)
    motion, wave = perform(seed, clip, speaker)
    return Take(render(speaker, motion, SIZE, rng_of(seed, "grain", clip.name)), wave)


def perform(seed: int, clip: Clip, speaker: Speaker) -> tuple[Motion, F64]:
    """The motion of the face and the sound of the voice, made together so that the lips follow the voice."""
    speech = speak(speaker, clip.voice, SECONDS, rng_of(seed, "voice", clip.name))
    middle = ((np.arange(FRAMES) + 0.5) / float(FPS) * RATE).astype(int)
    opening: F32 = speech.opening[middle].astype(np.float32)
    return act(clip.face, opening, float(FPS), rng_of(seed, "face", clip.name)), speech.wave


def subtitle(seed: int, clip: Clip) -> Pair:
    """The clip's words in Chinese and English."""
    return say(clip.words, clip.split, rng_of(seed, "words", clip.name))
