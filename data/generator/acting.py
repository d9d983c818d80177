"""From what a face shows to how it moves: the tracks of expression units, mouth and head over a clip."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from generator.face import F32, MOVES, Motion
from generator.plan import Cue, Rng

REST = {"corners": -1.15, "cheeks": -0.35}
"""The photograph smiles; this is what makes its face rest."""

EXPRESSIONS: dict[str, dict[str, float]] = {
    # Neutral is a calm of its own (relaxed lids, chin up, an even mouth), not the mere absence of anything.
    "neutral": {"lids": -0.65, "width": 0.6, "corners": 0.25, "pitch": -0.85, "outer_brow": 0.2},
    "angry": {"furrow": 1.25, "outer_brow": 0.35, "corners": -0.35, "width": -0.5, "pout": 0.8, "lids": 0.25},
    "happy": {"corners": 1.35, "cheeks": 1.2, "width": 0.5, "lids": -0.45, "gape": 3.5, "teeth": 1.0},
    "sad": {"corners": -0.95, "inner_brow": 0.75, "lids": -1.0, "pout": 0.5, "pitch": 0.8, "roll": 0.07},
    "worried": {
        "inner_brow": 1.15, "furrow": 0.5, "lids": 0.6, "corners": -0.35, "width": 0.7, "gape": 1.8, "teeth": 0.7
    },
    "surprise": {
        "inner_brow": 0.75, "outer_brow": 0.8, "lids": 0.6, "gape": 8.0, "width": -0.7, "corners": -0.5, "teeth": 0.4
    },
}  # fmt: skip
"""Units at full strength; ``gape`` in pixels, ``roll`` in radians."""

FLAT_TURN = (0.55, 1.0)
"""A flat face is turned aside by so much, and hardly moves."""


def act(cue: Cue, speech: F32, fps: float, rng: Rng) -> Motion:
    """The motion of a clip of T frames. ``speech`` (T,) is how wide the voice opens the mouth, 0..1."""
    n = len(speech)
    time = np.arange(n) / fps
    onset = 1 / (1 + np.exp(-(time - rng.uniform(0.25, 0.6)) / 0.08))
    swell = onset * (1 + 0.10 * _wander(n, fps, rng)) * (1 - rng.uniform(0, 0.25) * np.clip(time - 1.4, 0, 1))
    flat = cue.shows is None
    target = EXPRESSIONS.get(cue.shows or "", {})
    habit = {u: float(rng.normal(0, 0.07)) for u in MOVES}

    def track(unit: str) -> F32:
        shown = target.get(unit, 0.0) * cue.strength * swell
        return np.asarray(REST.get(unit, 0.0) + habit.get(unit, 0.0) + shown + 0.04 * _wander(n, fps, rng), np.float32)

    units = {u: track(u) for u in MOVES}
    if flat:
        units["yaw"] += np.float32(rng.uniform(*FLAT_TURN) * rng.choice([-1, 1]))
    liveliness = 0.35 if flat else 1.0
    chew = speech * (0.45 if flat else 0.85) * rng.uniform(4.5, 6.0)
    sway = np.stack([_wander(n, fps, rng), 0.7 * _wander(n, fps, rng)], axis=1) * 1.4 * liveliness
    wobble = _wander(n, fps, rng)
    return Motion(
        units=units,
        gape=np.asarray(chew + np.maximum(target.get("gape", 0.0) * cue.strength * swell, 0), np.float32),
        teeth=np.asarray(0.25 + (target.get("teeth", 0.25) - 0.25) * np.clip(cue.strength * swell, 0, 1), np.float32),
        sway=np.asarray(sway, np.float32),
        roll=np.asarray(target.get("roll", 0.0) * cue.strength * swell + 0.012 * liveliness * wobble, np.float32),
    )


def _wander(n: int, fps: float, rng: Rng) -> F32:
    """A smooth random track (n,) of about unit size that changes within a third of a second."""
    sigma = fps * 0.3
    pad = int(4 * sigma)
    smooth = gaussian_filter1d(rng.normal(size=n + 2 * pad), sigma)[pad : pad + n]
    return np.asarray(smooth * np.sqrt(2 * sigma * np.sqrt(np.pi)), np.float32)
