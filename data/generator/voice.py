"""A voice out of nothing: glottal pulses and breath, shaped by formants, in syllables.

The class lies in the manner: pitch, its range and contour, pace, loudness, brightness, tremor, all relative to
the speaker's own base. No words can be heard; the syllables are random vowels.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter

from generator.plan import Cue, Rng
from generator.speaker import Speaker

F64 = NDArray[np.float64]

RATE = 16_000
"""Samples per second."""

VOWELS = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
    (490, 1350, 1690),
)
"""First three formants in Hz (Peterson and Barney, 1952, men): a e i o u and a schwa."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How something is said."""

    pitch: float
    """Semitones above the speaker's base."""
    accent: float
    """Spread of the syllables' pitch, semitones."""
    contour: float
    """Rise over the whole utterance, semitones."""
    glide: float
    """Rise within a syllable, semitones."""
    pace: float
    """Syllables per second."""
    uneven: float
    """Spread of the syllables' lengths, relative."""
    level: float
    """Loudness in dB."""
    bright: float
    """Cut-off of the source's spectrum, in octaves above 500 Hz."""
    breath: float
    """Share of noise in the source."""
    tremor: float
    """Depth of a 7 Hz shake, semitones."""


FLAT = Manner(-1.5, 0.2, -0.5, 0.0, 3.3, 0.15, -17, 0.5, 0.10, 0.0)
"""Mumbled: quiet, dull, on one note."""

MANNERS: dict[str, Manner] = {
    "neutral": Manner(0.0, 0.8, -2.5, -0.5, 4.2, 0.02, -9, 1.6, 0.03, 0.0),
    "angry": Manner(4.0, 1.5, -2.0, -4.5, 5.4, 0.12, 0, 3.2, 0.05, 0.1),
    "happy": Manner(6.0, 4.0, 1.0, 3.0, 4.8, 0.12, -4, 2.4, 0.03, 0.1),
    "sad": Manner(-3.0, 0.7, -5.0, -2.0, 2.3, 0.15, -12, 0.9, 0.20, 0.2),
    "worried": Manner(3.0, 1.2, 2.0, 0.5, 5.8, 0.45, -9, 1.7, 0.22, 1.1),
    "surprise": Manner(7.0, 1.5, 6.0, 6.0, 2.7, 0.25, -3, 2.6, 0.04, 0.1),
}


@dataclass(frozen=True, slots=True)
class Speech:
    """``wave`` (N,) in -1..1 at ``RATE``; ``opening`` (N,) how far the mouth is open for it, 0..1."""

    wave: F64
    opening: F64


def speak(speaker: Speaker, cue: Cue, seconds: float, rng: Rng) -> Speech:
    """An utterance that fills the clip, with a short silence on both sides."""
    manner = _manner(cue, rng)
    n = round(seconds * RATE)
    syllables = _syllables(speaker, manner, seconds, rng)
    semitones = _melody(manner, syllables, n, rng)
    source = _source(speaker.pitch * 2 ** (semitones / 12), manner, rng)
    wave, opening = np.zeros(n), np.zeros(n)
    for start, stop in syllables:
        i, j = round(start * RATE), min(round(stop * RATE), n)
        window = np.sin(np.pi * (np.arange(j - i) + 0.5) / (j - i)) ** 0.6
        loud = rng.uniform(0.8, 1.0)
        vowel = VOWELS[int(rng.integers(len(VOWELS)))]
        wave[i:j] += loud * window * _formants(source[i:j], vowel, speaker.formants)
        opening[i:j] = np.maximum(opening[i:j], loud * window * np.clip(vowel[0] / 600, 0.45, 1.0))
        if rng.random() < 0.45:  # a fricative or a plosive before the vowel
            _burst(wave, i, 0.5 if manner.bright > 1.2 else 0.3, rng)
    voiced = wave[wave != 0]
    wave *= 0.16 * 10 ** (manner.level / 20) * speaker.level / np.sqrt(np.mean(voiced**2))
    wave = np.tanh(wave * 1.2) / 1.2 + speaker.hiss * rng.normal(size=n)
    return Speech(np.clip(wave, -0.99, 0.99), opening)


def _manner(cue: Cue, rng: Rng) -> Manner:
    """The class's manner at the cue's strength (0 is flat), with a little of the day's mood."""
    flat = np.array(astuple(FLAT))
    full = np.array(astuple(MANNERS[cue.shows])) if cue.shows else flat
    mixed = flat + cue.strength * (full - flat)
    mixed += rng.normal(0, [0.5, 0.1, 0.4, 0.3, 0.15, 0.02, 0.8, 0.12, 0.01, 0.03])
    floor = [-12, 0, -12, -12, 1.8, 0, -30, 0.2, 0, 0]
    return Manner(*(float(v) for v in np.maximum(mixed, floor)))


def _syllables(speaker: Speaker, manner: Manner, seconds: float, rng: Rng) -> list[tuple[float, float]]:
    """Start and stop of each syllable in seconds."""
    spans: list[tuple[float, float]] = []
    at = rng.uniform(0.08, 0.2)
    end = seconds - rng.uniform(0.08, 0.2)
    while True:
        length = float(np.clip(1 + manner.uneven * rng.normal(), 0.45, 2.0)) / (manner.pace * speaker.rate)
        if at + length > end:
            return spans
        spans.append((at, at + 0.88 * length))
        hesitates = manner.uneven > 0.3 and rng.random() < 0.25
        at += length + (rng.uniform(0.1, 0.25) if hesitates else 0)


def _melody(manner: Manner, syllables: list[tuple[float, float]], n: int, rng: Rng) -> F64:
    """Pitch over time in semitones above the speaker's base: (n,)."""
    time = np.arange(n) / RATE
    first, last = syllables[0][0], syllables[-1][1]
    out = manner.pitch + manner.contour * (np.clip((time - first) / (last - first), 0, 1) - 0.5)
    for k, (start, stop) in enumerate(syllables):
        here = (time >= start) & (time < stop)
        # Accents alternate, as stress does; their size is the manner's.
        accent = manner.accent * ((-1) ** k * 0.8 + 0.4 * rng.normal())
        out[here] += accent + manner.glide * ((time[here] - start) / (stop - start) - 0.5)
    return out + manner.tremor * np.sin(2 * np.pi * (7 * time + rng.random())) + 0.1 * np.sin(2 * np.pi * 3.1 * time)


def _source(pitch: F64, manner: Manner, rng: Rng) -> F64:
    """Glottal flow's derivative plus breath, low-passed to the manner's brightness: (n,)."""
    cycle = np.cumsum(pitch * (1 + 0.008 * rng.normal(size=len(pitch)))) / RATE % 1.0
    # Flow t^2 (1 - t) while the glottis is open (60% of the cycle), as Rosenberg's pulse; closed, none.
    t = cycle / 0.6
    flow = np.where(t < 1, 27 / 4 * t**2 * (1 - t), 0.0)
    pulses = np.diff(flow, prepend=flow[0])
    pulses /= np.std(pulses)
    b, a = butter(1, 500 * 2**manner.bright / (RATE / 2))
    return np.asarray(lfilter(b, a, pulses + manner.breath * 2 * rng.normal(size=len(pitch))))


def _formants(source: F64, vowel: tuple[int, int, int], scale: float) -> F64:
    """The source through four resonators in series, each of unit gain at 0 Hz."""
    out = source
    for centre, width in zip((*vowel, 3500), (80, 100, 150, 250), strict=True):
        radius = np.exp(-np.pi * width / RATE)
        a1 = -2 * radius * np.cos(2 * np.pi * min(centre * scale, 7000) / RATE)
        out = lfilter([1 + a1 + radius**2], [1, a1, radius**2], out)
    return np.asarray(out)


def _burst(wave: F64, at: int, size: float, rng: Rng) -> None:
    """Add a short hiss before sample ``at``."""
    length = round(rng.uniform(0.02, 0.06) * RATE)
    start = max(at - length // 2, 0)
    b, a = butter(2, 2500 / (RATE / 2), "high")
    noise = lfilter(b, a, rng.normal(size=length)) * np.hanning(length)
    stop = min(start + length, len(wave))
    reference = np.sqrt(np.mean(wave[wave != 0] ** 2))
    wave[start:stop] += size * reference * noise[: stop - start]
