"""What a mouth does, apart from the head that it is in: how much it moves, and what it looks like.

A face is followed through grey copies of the picture, by its landmarks, which are interpolated between the pictures in
which it was found. Each copy gives an aligned patch. Two neighbouring patches are moved to match over eyes and nose,
and then compared. What still differs in the mouth, less what differs in the upper face, is the mouth's own motion.

Each patch is also moved to match the mean patch of the track. Its mouth is then described by the lowest frequencies of
a cosine transform, which show how wide open it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter, shift

from mer_pipeline.vision.align import LAYOUT, similarity
from mer_pipeline.vision.detector import Floats
from mer_pipeline.vision.shots import Grey

Doubles = npt.NDArray[np.float64]

PATCH, MARGIN = 56, 0.12  # pixels of the aligned patch's side; what is added on each side
REACH = 0.35  # seconds before the first and after the last finding in which a face is taken to be where it was
LOST = 1.3  # seconds between two findings over which nothing is interpolated
STEPS = 3  # of the matching of two patches
FARTHEST = 5.0  # pixels that one patch is moved against the other at most
FAINT = 6.0  # levels: a face of less contrast counts as one of this contrast
FREQUENCIES = 4  # of the cosine transform, in each direction


def _box(left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
    """Rows and columns of a patch, from fractions of the layout."""
    x0, y0, x1, y1 = (round((value + MARGIN) / (1 + 2 * MARGIN) * PATCH) for value in (left, top, right, bottom))
    return slice(y0, y1), slice(x0, x1)


MOUTH = _box(0.30, 0.73, 0.70, 1.02)
UPPER = _box(0.16, 0.25, 0.84, 0.68)


@dataclass(frozen=True)
class Motion:
    """What a mouth did over time.

    Attributes:
        times: (n,) float64, seconds: the middle between two grey copies.
        mouth, upper: (n,) float32: mean absolute change of mouth and upper face between these copies, in units of the
            face's contrast.
        shape: (n, FREQUENCIES²) float32: what the mouth looks like, as the mean of these two copies, in the same units.
    """

    times: Doubles
    mouth: Floats
    upper: Floats
    shape: Floats


def follow(
    greys: Sequence[Grey], grey_times: Doubles, times: Doubles, landmarks: Floats, start: float, stop: float
) -> Motion:
    """Measure the motion of a face's mouth.

    Args:
        greys: grey copies of the clip.
        grey_times: (copies,) float64, their times in seconds, ascending.
        times: (n,) float64, ascending: when the face was found.
        landmarks: (n, 5, 2) float32, in units of the longer side of a copy.
        start, stop: seconds between which the face's shot is.
    """
    near = (grey_times >= max(start, times[0] - REACH)) & (grey_times < min(stop, times[-1] + REACH))
    after = np.clip(np.searchsorted(times, grey_times), 1, max(1, len(times) - 1))
    if len(times) > 1:  # outside of the findings the nearest one counts, between them both
        inside = (grey_times >= times[0]) & (grey_times <= times[-1])
        near &= ~inside | (times[after] - times[after - 1] <= LOST)
    ats = [int(at) for at in np.flatnonzero(near)]
    usual = 2.5 * float(np.median(np.diff(grey_times))) if len(grey_times) > 1 else 0.0
    pairs = [
        (one, one + 1)
        for one in range(len(ats) - 1)
        if ats[one + 1] == ats[one] + 1 and grey_times[ats[one + 1]] - grey_times[ats[one]] <= usual
    ]
    if not pairs:
        return Motion(np.zeros(0), *(np.zeros(0, np.float32),) * 2, np.zeros((0, FREQUENCIES**2), np.float32))
    flat = landmarks.reshape(len(times), 10).astype(np.float64)
    patches = []
    for at in ats:
        place = np.array([np.interp(grey_times[at], times, column) for column in flat.T]).reshape(5, 2)
        patches.append(_patch(greys[at], place * max(greys[at].shape)))
    mean: Doubles = np.mean(patches, axis=0)
    shapes = [_shape(_matched(mean, patch)) for patch in patches]
    mouth, upper = zip(*(_differences(patches[one], patches[other]) for one, other in pairs), strict=True)
    return Motion(
        np.array([(grey_times[ats[one]] + grey_times[ats[other]]) / 2 for one, other in pairs], np.float64),
        np.array(mouth, np.float32),
        np.array(upper, np.float32),
        np.array([(shapes[one] + shapes[other]) / 2 for one, other in pairs], np.float32),
    )


def _patch(grey: Grey, landmarks: Doubles) -> Doubles:
    """The aligned patch of a face, slightly blurred: (PATCH, PATCH) float64."""
    target = (LAYOUT + MARGIN) / (1 + 2 * MARGIN) * PATCH
    matrix = similarity(target, landmarks)
    corners = matrix @ np.array([[0, PATCH, 0, PATCH], [0, 0, PATCH, PATCH], [1, 1, 1, 1]], np.float64)
    left, top = (int(max(0, np.floor(low) - 2)) for low in corners.min(axis=1))
    right, bottom = (int(np.ceil(high) + 2) for high in corners.max(axis=1))
    part = grey[top : max(bottom, 0), left : max(right, 0)]
    if not part.size:
        return np.zeros((PATCH, PATCH))
    factor = max(1, int(np.hypot(matrix[0, 0], matrix[1, 0])))  # what is larger than the patch is averaged first
    to_part = np.array([[1, 0, -left], [0, 1, -top]]) / factor
    within = to_part[:, :2] @ matrix + np.array([[0, 0, to_part[0, 2]], [0, 0, to_part[1, 2]]])
    image = (
        Image.fromarray(part)
        .reduce(factor)
        .transform((PATCH, PATCH), Image.Transform.AFFINE, tuple(within.ravel()), Image.Resampling.BILINEAR)
    )
    blurred: Doubles = gaussian_filter(np.asarray(image, np.float64), 0.7)
    return blurred


def _differences(one: Doubles, other: Doubles) -> tuple[float, float]:
    """How much mouth and upper face differ after the second patch was moved to match the first."""
    apart = np.abs(_matched(one, other) - one)
    contrast = _contrast(one)
    return float(apart[MOUTH].mean()) / contrast, float(apart[UPPER].mean()) / contrast


def _shape(patch: Doubles) -> Doubles:
    """The mouth of a patch, by the lowest frequencies of its cosine transform: (FREQUENCIES²,) float64."""
    levels = (patch[MOUTH] - patch[UPPER].mean()) / _contrast(patch)
    lowest: Doubles = dctn(levels, norm="ortho")[:FREQUENCIES, :FREQUENCIES].ravel()
    return lowest


def _contrast(patch: Doubles) -> float:
    return max(FAINT, float(patch[UPPER].std()))


def _matched(one: Doubles, other: Doubles) -> Doubles:
    """Return the second patch moved to match the first over the upper face (Lucas and Kanade, 1981).

    A patch that would have to be moved by more than FARTHEST stays where it is.
    """
    moved: Doubles = other
    offset = np.zeros(2)
    for _ in range(STEPS):
        slopes = np.stack([np.gradient((one + moved) / 2, axis=axis)[UPPER].ravel() for axis in (0, 1)])
        squares = slopes @ slopes.T + 1e-3 * np.eye(2)
        offset = offset + np.linalg.solve(squares, slopes @ (moved - one)[UPPER].ravel())
        if np.abs(offset).max() > FARTHEST:
            return other
        moved = shift(other, offset, order=1, mode="nearest")
    return moved
