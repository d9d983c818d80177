"""`face-geometry`: an encoder of the primary face's landmarks and crops; it needs no model and no download.

The features have three groups. The first says where the aligned landmarks lie and how they move (expression). The
second says how the head moves (nods, turns, approach). The third has the oriented gradients of the aligned crops and
their change (brows, eyes, mouth).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import PooledEncoder, PooledParams, Vectors
from mer_pipeline.base.errors import Skip
from mer_pipeline.media import jpeg
from mer_pipeline.vision.align import LAYOUT, similarity
from mer_pipeline.vision.appearance import change
from mer_pipeline.vision.faces import Faces
from mer_pipeline.vision.gradients import ORIENTATIONS, gradients
from mer_pipeline.vision.track import side

CELLS = 8  # cells on each side of the grid for gradients
CROP_SIDE = 96  # pixels of the square that a crop is scaled to
SHAPE_DIM = 10 + 4  # x and y of five aligned landmarks; four ratios
DIM = 3 * SHAPE_DIM + 6 + 2 * CELLS * CELLS * ORIENTATIONS


def shape(landmarks: npt.NDArray[np.float32]) -> Vectors:
    """Describe the shape of one face by numbers that do not depend on its place, its size and its roll.

    The first ten numbers are the differences between the aligned landmarks and LAYOUT, in fractions of the crop's side.
    The last four are divided by the distance between the eyes: the width of the mouth, the distance from the eyes to
    the mouth, the distance from the nose to the mouth, and the sideways offset of the nose (turning of the head).

    Args:
        landmarks: (5, 2) float32, x and y in pixels.

    Returns:
        (SHAPE_DIM,) float32.

    Example:
        >>> face = 100 * LAYOUT.astype(np.float32) + 50  # a face that has exactly the layout's shape
        >>> bool(np.allclose(shape(face)[:10], 0, atol=1e-5))
        True
    """
    points = landmarks.astype(np.float64)
    matrix = similarity(points, LAYOUT)
    aligned = points @ matrix[:, :2].T + matrix[:, 2]
    left, right, nose, mouth_left, mouth_right = points
    eyes = max(float(np.linalg.norm(right - left)), 1e-6)
    middle, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    across = (right - left) / eyes
    ratios = [
        np.linalg.norm(mouth_right - mouth_left) / eyes,
        np.linalg.norm(mouth - middle) / eyes,
        np.linalg.norm(mouth - nose) / eyes,
        float((nose - middle) @ across) / eyes,
    ]
    return np.concatenate([(aligned - LAYOUT).ravel(), ratios]).astype(np.float32)


def head_motion(faces: Faces) -> Vectors:
    """Describe how the head moves over the frames of a clip.

    Returns:
        (6,) float32: the mean absolute change from frame to frame of the face's x, y (both in units of the median side
        of its box), logarithm of its side, and roll in radians; the standard deviation of the roll; and the coverage.
    """
    sides = np.array([max(side(box), 1e-6) for box in faces.boxes])
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 / np.median(sides)
    eyes = faces.landmarks[:, 1] - faces.landmarks[:, 0]
    roll = np.arctan2(eyes[:, 1], eyes[:, 0])
    steps = np.column_stack([centres, np.log(sides), roll]).astype(np.float32)
    return np.concatenate([change(steps), [roll.std(), faces.coverage]]).astype(np.float32)


# Where the brows are searched in an aligned crop, in fractions of its side: the columns of their inner ends, and the
# rows between the upper lid and the hair. The margin of the crops moves the brows a little, by the same for all clips.
BROW_COLUMNS = ((0.36, 0.46), (0.54, 0.64))
BROW_ROWS = (0.35, 0.45)
BROW_SHADE = 1.0  # by how many levels of luma a brow must be darker than the skin above and below it


def brow_height(crop: npt.NDArray[np.uint8]) -> float | None:
    """Measure how high the inner ends of the brows are in an aligned crop.

    The detector's five landmarks do not include the brows. Therefore a brow is taken to be the most prominent dark line
    above the eyelid. The measure can be compared within one person under one light, but not between people.

    Args:
        crop: (side, side, 3) uint8.

    Returns:
        The mean height of the brows that are found over the lower edge of the searched rows, as a fraction of the
        crop's side; None if no brow is found.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    side = crop.shape[0]
    top, bottom = (round(at * side) for at in BROW_ROWS)
    luma = crop[top:bottom] @ np.array([0.299, 0.587, 0.114])
    heights = []
    for left, right in BROW_COLUMNS:
        dark = -gaussian_filter1d(luma[:, round(left * side) : round(right * side)].mean(axis=1), 1.0)
        peaks, found = find_peaks(dark, prominence=BROW_SHADE)
        if len(peaks):
            at = int(peaks[found["prominences"].argmax()])
            # The parabola through the peak and its two neighbours gives the place of the peak between two pixels.
            before, here, after = dark[at - 1 : at + 2]
            heights.append(bottom - top - at - 0.5 - 0.5 * (before - after) / (before - 2 * here + after))
    return float(np.mean(heights)) / side if heights else None


class FaceGeometryParams(PooledParams):
    """Positions and motion of the aligned landmarks, head motion, and gradients of the face crops."""

    input: Literal["faces"]  # the face crops


class FaceGeometry(PooledEncoder[Row]):
    """An encoder of faces by their geometry, motion and appearance. `prepare` does all the work."""

    Params = FaceGeometryParams

    def __init__(self, name: str, params: FaceGeometryParams) -> None:
        super().__init__(name, params, DIM)

    def prepare(self, clip: Clip) -> Row:
        """Compute the features of each face and average them over time."""
        faces = Faces.of(clip.need("faces"))
        if not faces.is_measured:
            raise Skip("the faces came without landmarks")
        shapes = np.stack([shape(points) for points in faces.landmarks])
        looks = np.stack([gradients(jpeg.decode(crop), CROP_SIDE, CELLS) for crop in faces.crops])
        moving = [shapes.max(axis=0) - shapes.min(axis=0), change(shapes), head_motion(faces), change(looks)]
        fixed = np.broadcast_to(np.concatenate(moving).astype(np.float32), (len(shapes), sum(map(len, moving))))
        return self.pooled(np.concatenate([shapes, looks, fixed], axis=1), faces.times)

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Return the rows as they are: `prepare` has done all the work."""
        return list(items)
