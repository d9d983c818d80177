"""Where a clip is cut from one shot to the next, and how far the camera moves meanwhile.

Every decoded picture is described by a small blurred copy. A cut is where the copies on both sides differ much, and
much more than pictures differ elsewhere nearby. The second condition keeps a pan, in which every picture differs from
the one before, from being a row of cuts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]  # (height, width)

THUMB = (16, 12)  # width and height of the copy, in pixels: small enough that a moving head changes little
CUT = 10.0  # levels, mean absolute difference over the copy; cuts between rooms have 20 to 70
CUT_RATIO = 3.0  # how many times the usual difference nearby
NEARBY = 6  # pictures on each side that say what is usual
SHIFT_SIDE = 128  # pixels of the longer side of the copies that the camera's motion is estimated from


def thumb(rgb: npt.NDArray[np.uint8]) -> Floats:
    """Make the small copy of a picture that cuts are found by.

    Args:
        rgb: (height, width, 3) uint8.

    Returns:
        (THUMB[1], THUMB[0], 3) float32, in levels.
    """
    height, width = rgb.shape[:2]
    image = Image.fromarray(rgb).reduce((max(1, width // 64), max(1, height // 48)))
    return np.asarray(image.resize(THUMB, Image.Resampling.BOX), np.float32)


def find_cuts(thumbs: Sequence[Floats]) -> list[int]:
    """Find the first picture of each shot but the first.

    A flash changes one picture, and the one after it is like the one before. Therefore the difference at a picture is
    the smallest between the two pictures before it and the two from it on.

    Args:
        thumbs: of all pictures, in the order of time.

    Returns:
        Indices of pictures, ascending.

    Example:
        >>> black, white = np.zeros((12, 16, 3), np.float32), np.full((12, 16, 3), 200, np.float32)
        >>> find_cuts([black] * 5 + [white] * 5)
        [5]
        >>> find_cuts([black] * 5 + [white] + [black] * 5)  # a flash
        []
    """
    count = len(thumbs)
    if count < 2:
        return []
    stack = np.stack(thumbs)

    def apart(steps: int) -> npt.NDArray[np.float64]:
        means: npt.NDArray[np.float64] = np.abs(stack[steps:] - stack[:-steps]).mean(axis=(1, 2, 3), dtype=np.float64)
        return means

    near = np.concatenate([[0.0], apart(1)])  # at i: between i - 1 and i
    differs = near.copy()
    if count > 2:
        two = np.concatenate([[np.inf, np.inf], apart(2)])  # at i: between i - 2 and i
        differs = np.minimum(differs, two)  # the picture before this one was the flash
        differs[1:-1] = np.minimum(differs[1:-1], two[2:])  # this one is
    cuts = []
    for at in range(1, count):
        around = np.concatenate([near[max(1, at - NEARBY) : at], near[at + 1 : at + 1 + NEARBY]])
        usual = float(np.median(around)) if len(around) else 0.0
        if differs[at] > max(CUT, CUT_RATIO * usual):
            cuts.append(at)
    return cuts


def small_grey(rgb: npt.NDArray[np.uint8], side: int) -> Grey:
    """Make a grey copy whose longer side has at most `side` pixels: (height, width) uint8."""
    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(rgb).convert("L").resize(size, Image.Resampling.BOX))


def camera_shift(before: Grey, after: Grey) -> tuple[float, float]:
    """Estimate how far the scene moved between two pictures by phase correlation (Kuglin and Hines, 1975).

    Args:
        before, after: pictures of one shot and one size.

    Returns:
        x and y that are added to a place in `before` to find it in `after`, in pixels of these pictures; (0, 0) where
        no shift explains the change better than none.

    Example:
        >>> scene = np.random.default_rng(0).integers(0, 255, (90, 200)).astype(np.uint8)
        >>> camera_shift(scene[:, 20:180], scene[:, 26:186])
        (-6.0, 0.0)
    """
    factor = max(1, round(max(before.shape) / SHIFT_SIDE))
    height, width = before.shape
    if min(height, width) < 4 * factor:
        return 0.0, 0.0
    window = np.outer(np.hanning(height // factor), np.hanning(width // factor))
    one, other = (_reduced(picture, factor, window) for picture in (before, after))
    cross = np.conj(np.fft.rfft2(one)) * np.fft.rfft2(other)
    peaks = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), one.shape)
    y, x = (int(value) for value in np.unravel_index(int(peaks.argmax()), peaks.shape))
    high, wide = one.shape
    dx, dy = x - wide * (x > wide // 2), y - high * (y > high // 2)
    return float(dx * factor), float(dy * factor)


def _reduced(picture: Grey, factor: int, window: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    high, wide = window.shape
    blocks = picture[: high * factor, : wide * factor].reshape(high, factor, wide, factor)
    small = blocks.mean(axis=(1, 3))
    reduced: npt.NDArray[np.float64] = (small - small.mean()) * window
    return reduced
