"""A speaker: everything that differs between groups and says nothing about the class."""

from __future__ import annotations

from dataclasses import dataclass

from generator.plan import rng_of


@dataclass(frozen=True, slots=True)
class Speaker:
    """Looks, voice and surroundings of one group. Lengths are in frame widths or portrait pixels, pitch in Hz."""

    name: str
    scale: float
    """Size of the head: frame pixels per portrait pixel."""
    aspect: float
    """Stretch of the head, height over width."""
    centre: tuple[float, float]
    """Where the face stands in the frame (x, y), as a fraction."""
    mirror: bool
    tilt: float
    """Resting head roll in radians."""
    jaw: float
    cheeks: float
    eyes_apart: float
    nose: float
    """Static warps of the face, about -1..1."""
    gains: tuple[float, float, float]
    gamma: float
    suit: int
    """Which colour the suit has (0..5)."""
    scene: int
    """Which background."""
    pitch: float
    formants: float
    rate: float
    level: float
    hiss: float
    """Voice: base pitch in Hz, formant scale, pace factor, microphone gain, noise level."""


def make_speaker(seed: int, name: str) -> Speaker:
    """The speaker of that name; a pure function of both arguments."""
    rng = rng_of(seed, "speaker", name)
    index = int(name[1:])

    def spread(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    tone = spread(0.85, 1.1)
    # Low and high voices take turns, so that each split has both.
    low_voice = index % 2 == 1
    return Speaker(
        name=name,
        scale=spread(0.85, 1.1),
        aspect=spread(0.94, 1.07),
        centre=(spread(0.42, 0.58), spread(0.45, 0.52)),
        mirror=bool(rng.random() < 0.5),
        tilt=spread(-0.05, 0.05),
        jaw=spread(-1, 1),
        cheeks=spread(-1, 1),
        eyes_apart=spread(-1, 1),
        nose=spread(-1, 1),
        gains=(tone * spread(0.95, 1.05), tone * spread(0.95, 1.03), tone * spread(0.88, 1.08)),
        gamma=spread(0.85, 1.2),
        suit=index % 6,
        scene=index % 7,
        pitch=spread(105, 135) if low_voice else spread(180, 225),
        formants=spread(0.88, 0.98) if low_voice else spread(1.06, 1.18),
        rate=spread(0.92, 1.08),
        level=spread(0.8, 1.2),
        hiss=spread(0.001, 0.004),
    )
