"""A photographed face that speaks and feels: the public-domain portrait of ``skimage.data``, warped.

Everything is *backward* mapping: for every pixel of the frame, where in the portrait does it come from. The way
goes frame -> pose of the speaker -> head motion -> expression (a sum of Gaussian bumps at facial points, each
weaker than its width, so that nothing folds) -> mouth (which really opens: the lower lip and the jaw move
down and what comes between is teeth, then dark) -> portrait.

Coordinates are pixels of the 512 x 512 portrait, x right and y down; "left" is the left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, zoom
from skimage import data
from skimage.draw import polygon2mask

from generator.plan import Rng
from generator.speaker import Speaker

F32 = NDArray[np.float32]
Images = NDArray[np.uint8]

FINE = 2
"""The portrait is sampled from a copy enlarged so often by splines; linear sampling of that stays sharp."""

MOUTH_X, MOUTH_Y, MOUTH_HALF = 225.0, 140.0, 21.0
"""Middle of the line between the corners of the mouth, and half their distance."""
UPPER_LIP, LOWER_LIP = 3.8, 10.0
"""How far the lips' inner edges hang below that line, in the middle."""

Bump = tuple[float, float, float, float, float, float]
"""One Gaussian displacement: centre x, y, width x, y, and the move dx, dy at full strength."""

MOVES: dict[str, tuple[Bump, ...]] = {
    "corners": ((204, 140, 9, 9, -1.5, -4.5), (246, 140, 9, 9, 1.5, -4.5)),
    "width": ((203, 141, 9, 12, -4, 0), (247, 141, 9, 12, 4, 0)),
    "inner_brow": ((213, 91, 8, 6.5, 0, -5), (239, 92.5, 8, 6.5, 0, -5)),
    "outer_brow": ((194, 89, 10, 6.5, 0, -5), (258, 92.5, 10, 6.5, 0, -5)),
    "furrow": ((213, 91, 8, 6.5, 3, 4.5), (239, 92.5, 8, 6.5, -3, 4.5)),
    "lids": (
        (203, 96.5, 9, 4.5, 0, -2.3),
        (247, 99, 9, 4.5, 0, -2.3),
        (203, 106, 9, 5, 0, 1),
        (247, 108.5, 9, 5, 0, 1),
    ),
    "cheeks": ((196, 122, 11, 9, 0, -4), (254, 124, 11, 9, 0, -4)),
    "pout": ((225, 155, 13, 8, 0, -3.5),),
    "yaw": ((225, 122, 27, 36, 7, 0),),
    "pitch": ((225, 122, 30, 30, 0, 6),),
}
"""What each expression unit at +1 moves."""

SILHOUETTE = (
    (40, 512), (46, 285), (62, 252), (101, 214), (122, 205), (124, 188), (129, 166), (142, 155), (160, 150), (186, 149),
    (187, 132), (180, 131), (174, 121), (163, 110), (157, 97), (154, 80), (155, 64), (165, 52), (185, 40), (195, 29),
    (210, 22), (230, 17), (250, 19), (269, 26), (284, 35), (294, 51), (300, 70), (300, 90), (296, 104), (287, 117),
    (276, 125), (272, 134), (263, 135), (261, 148), (256, 160), (256, 175), (275, 190), (294, 217), (303, 236),
    (334, 256), (346, 286), (359, 342), (365, 512),
)  # fmt: skip
"""Outline of head and suit against the studio's wall."""


@dataclass(frozen=True, slots=True)
class Motion:
    """What the head does: each an array (T,); ``units`` by the names in ``MOVES``."""

    units: dict[str, F32]
    gape: F32
    """Mouth opening in portrait pixels, 0 closed."""
    teeth: F32
    """How much of the teeth shows in an open mouth, 0..1."""
    sway: F32
    """(T, 2): shift of the head in portrait pixels."""
    roll: F32
    """(T,): roll of the head in radians."""


@lru_cache(maxsize=1)
def _portrait() -> F32:
    """(FINE*512, FINE*512, 4): red, green, blue (0..255) and the silhouette (0..1)."""
    rgb = data.astronaut().astype(np.float32)  # type: ignore[no-untyped-call]
    points = np.asarray(SILHOUETTE, np.float64)[:, ::-1]
    inside = polygon2mask(rgb.shape[:2], points)  # type: ignore[no-untyped-call]
    alpha = gaussian_filter(inside.astype(np.float32), 1.3)
    planes = [zoom(p, FINE, order=3, mode="nearest", grid_mode=True) for p in (*rgb.transpose(2, 0, 1), alpha)]
    return np.stack(planes, axis=-1).astype(np.float32)


@lru_cache(maxsize=4)
def _looks(speaker: Speaker) -> F32:
    """The portrait in this speaker's colours."""
    out = _portrait().copy()
    rgb = out[..., :3]
    orange = np.clip((rgb[..., 0] - rgb[..., 2] - 70) / 40, 0, 1)
    orange[: FINE * 195] = 0  # below the chin only: skin and hair keep their colour
    order = ((0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1))[speaker.suit]
    rgb += orange[..., None] * (0.8 * rgb[..., order] - rgb)
    rgb[:] = 255 * np.clip(rgb / 255, 0, 1) ** speaker.gamma * np.asarray(speaker.gains, np.float32)
    return out


def _scene(speaker: Speaker, size: tuple[int, int]) -> F32:
    """(H, W, 3): an out-of-focus background."""
    sources = (data.coffee, data.chelsea, data.rocket, data.brick, data.gravel, data.grass)
    h, w = size
    if speaker.scene == len(sources):
        ramp = np.linspace(90, 190, w, dtype=np.float32)[None, :, None] + np.linspace(30, -30, h)[:, None, None]
        picture = ramp * np.array([0.9, 1.0, 1.1], np.float32)
    else:
        source = sources[speaker.scene]().astype(np.float32)  # type: ignore[no-untyped-call]
        source = source if source.ndim == 3 else np.repeat(source[..., None], 3, axis=2)
        y = np.linspace(0, source.shape[0] - 1, h).astype(int)
        x = np.linspace(0, source.shape[1] - 1, w).astype(int)
        picture = gaussian_filter(source[y][:, x], (5, 5, 0)) * 0.8 + 20
    return np.asarray(picture * np.asarray(speaker.gains), np.float32)


def _bumps(q: F32, moves: list[tuple[float, Bump]]) -> F32:
    """Displacement (N, 2) at the points q (N, 2)."""
    out = np.zeros_like(q)
    for strength, (cx, cy, sx, sy, dx, dy) in moves:
        if abs(strength) < 1e-3:
            continue
        bell = strength * np.exp(-0.5 * (((q[:, 0] - cx) / sx) ** 2 + ((q[:, 1] - cy) / sy) ** 2))
        out[:, 0] += bell * dx
        out[:, 1] += bell * dy
    return out


def _identity(speaker: Speaker) -> list[tuple[float, Bump]]:
    """The static warps that make one face another."""
    return [
        (speaker.jaw, (196, 158, 14, 18, -5, 0)),
        (speaker.jaw, (254, 158, 14, 18, 5, 0)),
        (speaker.cheeks, (188, 118, 12, 16, -4, 0)),
        (speaker.cheeks, (262, 118, 12, 16, 4, 0)),
        (speaker.eyes_apart, (203, 101, 13, 11, -2.5, 0)),
        (speaker.eyes_apart, (247, 103, 13, 11, 2.5, 0)),
        (speaker.nose, (225, 127, 10, 9, 0, 2.5)),
    ]


def _open_mouth(q: F32, gape: float) -> tuple[F32, F32, F32]:
    """Map points through the mouth. Returns the points (N, 2), how far below the upper lip's edge each lies (N,),
    and how far above the lower lip's (N,), in pixels: both are positive in the mouth only.

    The photograph smiles with its lips apart, so a closed mouth is a lower lip moved *up*.
    """
    s = (q[:, 0] - MOUTH_X) / MOUTH_HALF
    arch = np.clip(1 - s * s, 0, 1)
    upper = MOUTH_Y + UPPER_LIP * arch
    shown = (LOWER_LIP - UPPER_LIP) * arch  # the gap in the photograph
    gap = (0.9 + gape) * arch**0.75  # the gap wanted: rounder than the smile
    depth = q[:, 1] - upper
    inside = (depth >= 0) & (depth <= gap) & (arch > 0)
    below = depth > gap
    out = q.copy()
    squeeze = np.where(gap > shown, 1.0, shown / np.maximum(gap, 1e-3))
    out[:, 1] = np.where(inside, upper + np.minimum(depth * squeeze, shown), out[:, 1])
    # The lower lip goes along fully, the chin nearly, the neck not.
    fade = np.exp(-0.5 * (np.maximum(depth - gap - 6, 0) / 17) ** 2)
    out[:, 1] = np.where(below, q[:, 1] - (gap - shown) * fade, out[:, 1])
    return out, np.where(arch > 0, depth, -1.0).astype(np.float32), (gap - depth).astype(np.float32)


def render(speaker: Speaker, motion: Motion, size: tuple[int, int], grain: Rng, behind: Images | None = None) -> Images:
    """The clip's frames (T, H, W, 3) uint8. ``size`` is (H, W); ``grain`` makes the sensor's noise.

    ``behind`` (T, H, W, 3) is what is seen around the person, default the speaker's own surroundings.
    """
    h, w = size
    looks, scene = _looks(speaker), _scene(speaker, size).reshape(-1, 3)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    # Frame to portrait: the middle of the face (225, 122) goes to the speaker's place.
    px = (x - speaker.centre[0] * w) / speaker.scale * (-1 if speaker.mirror else 1)
    py = (y - speaker.centre[1] * h) / (speaker.scale * speaker.aspect)
    still = np.stack([px.ravel() + 225, py.ravel() + 122], axis=1).astype(np.float32)
    loose = (1 / (1 + np.exp((still[:, 1:] - 200) / 12))).astype(np.float32)  # 1 on the head, 0 on the suit
    frames = np.empty((len(motion.gape), h, w, 3), np.uint8)
    for t in range(len(frames)):
        flat = _frame(speaker, looks, motion, t, still, loose)
        around = scene if behind is None else behind[t].reshape(-1, 3)
        picture = flat[:, 3:] * flat[:, :3] + (1 - flat[:, 3:]) * around
        noisy = picture.reshape(h, w, 3) + grain.normal(0, 1.0, (h, w, 1)).astype(np.float32)
        frames[t] = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return frames


def _frame(speaker: Speaker, looks: F32, motion: Motion, t: int, still: F32, loose: F32) -> F32:
    """One frame's red, green, blue, silhouette: (H*W, 4)."""
    roll = float(motion.roll[t]) + speaker.tilt
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]], np.float32)
    pivot = np.array([225, 185], np.float32)  # the neck
    moved = (still - motion.sway[t] - pivot) @ turn + pivot
    q = still + loose * (moved - still)
    near = (np.abs(q[:, 0] - 225) < 75) & (q[:, 1] > 50) & (q[:, 1] < 215)  # where a bump can reach
    face = q[near]
    moves = [(float(track[t]), bump) for unit, track in motion.units.items() for bump in MOVES[unit]]
    face = face - _bumps(face, _identity(speaker))
    face = face - _bumps(face, moves)
    face, depth, room = _open_mouth(face, float(motion.gape[t]))
    q[near] = face
    at = (q.T[::-1] + 0.5) * FINE - 0.5
    out = np.stack([map_coordinates(looks[..., c], at, order=1, mode="nearest") for c in range(4)], axis=1)
    out[near, :3] = _mouth_colour(out[near, :3], depth, room, float(motion.gape[t]), float(motion.teeth[t]))
    return out


def _mouth_colour(rgb: F32, depth: F32, room: F32, gape: float, teeth: float) -> F32:
    """Darken what lies in the mouth: teeth hang from above, the rest is dark; closed lips leave a dark line."""
    dark = np.array([62, 24, 26], np.float32)
    line = 0.55 * rgb + 0.45 * np.array([120, 62, 60], np.float32)
    visible = np.clip((6.5 * teeth - depth) / 2 + 0.5, 0, 1) * np.clip(teeth * 4, 0, 1)
    opened = dark + visible[:, None] * (rgb - dark)
    much = np.clip((gape - 0.6) / 2.0, 0, 1)
    inside = (np.clip(depth + 0.35, 0, 1) * np.clip(room + 0.35, 0, 1))[:, None]  # soft edges, a pixel wide
    return np.asarray(rgb + inside * (line + much * (opened - line) - rgb), np.float32)
