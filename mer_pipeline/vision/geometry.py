"""`face-geometry`: the primary face's landmarks and crop over time, without any model or download.

Three groups of numbers: where the aligned landmarks lie and how they move (expression), how the head moves
(nods, turns, approach), and oriented gradients of the aligned crop and their change (brows, eyes, mouth).
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
from mer_pipeline.vision.appearance import ORIENTATIONS, change, gradients
from mer_pipeline.vision.faces import LAYOUT, Faces, similarity
from mer_pipeline.vision.track import side

CELLS = 8
CROP_SIDE = 96
SHAPE_DIM = 10 + 4  # aligned landmarks; ratios
DIM = 3 * SHAPE_DIM + 6 + 2 * CELLS * CELLS * ORIENTATIONS


def shape(landmarks: npt.NDArray[np.float32]) -> Vectors:
    """One face's shape, free of its place, size and roll: (SHAPE_DIM,) float32.

    The five landmarks in the layout's coordinates, then ratios to the distance between the eyes: mouth width,
    eyes to mouth, nose to mouth, and the nose's offset from the middle (turning of the head).

    Args:
        landmarks: (5, 2) pixels.
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
    """How the head moves: (6,) float32: mean absolute move across and down, growth and roll per step, the spread of
    the roll, and the coverage."""
    sides = np.array([max(side(box), 1e-6) for box in faces.boxes])
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 / np.median(sides)
    eyes = faces.landmarks[:, 1] - faces.landmarks[:, 0]
    roll = np.arctan2(eyes[:, 1], eyes[:, 0])
    steps = np.column_stack([centres, np.log(sides), roll]).astype(np.float32)
    return np.concatenate([change(steps), [roll.std(), faces.coverage]]).astype(np.float32)


# Where brows are sought in an aligned crop, in fractions of its side: columns of their inner ends, rows between the
# upper lid and the hair. A crop's margin shifts them a little, for all clips alike.
BROW_COLUMNS = ((0.36, 0.46), (0.54, 0.64))
BROW_ROWS = (0.35, 0.45)
BROW_SHADE = 1.0  # levels of luma by which a brow is darker than what is above and below it


def brow_height(crop: npt.NDArray[np.uint8]) -> float | None:
    """How high the inner ends of the brows stand in an aligned crop: the most prominent dark line over the lids.

    The detector's five landmarks have no brows, so this is read off the picture: comparable within a person under
    one light, and not between people.

    Args:
        crop: (side, side, 3) uint8.

    Returns:
        Height over the lower edge of the searched rows, in sides of the crop; None where there is no such line.
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
            # The vertex of the parabola through the peak and its neighbours.
            before, here, after = dark[at - 1 : at + 2]
            heights.append(bottom - top - at - 0.5 - 0.5 * (before - after) / (before - 2 * here + after))
    return float(np.mean(heights)) / side if heights else None


class FaceGeometryParams(PooledParams):
    """Aligned landmarks and their motion, head motion, gradients of the crop."""

    input: Literal["faces"]  # the face crops


class FaceGeometry(PooledEncoder[Row]):
    """Faces to geometry, motion and appearance; all the work is in `prepare`."""

    Params = FaceGeometryParams

    def __init__(self, name: str, params: FaceGeometryParams) -> None:
        super().__init__(name, params, DIM)

    def prepare(self, clip: Clip) -> Row:
        """Measure each face, then pool over time."""
        faces = Faces.of(clip.need("faces"))
        if not faces.is_measured:
            raise Skip("the faces came without landmarks")
        shapes = np.stack([shape(points) for points in faces.landmarks])
        looks = np.stack([gradients(jpeg.decode(crop), CROP_SIDE, CELLS) for crop in faces.crops])
        moving = [shapes.max(axis=0) - shapes.min(axis=0), change(shapes), head_motion(faces), change(looks)]
        fixed = np.broadcast_to(np.concatenate(moving).astype(np.float32), (len(shapes), sum(map(len, moving))))
        return self.pooled(np.concatenate([shapes, looks, fixed], axis=1))

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Nothing is left to do."""
        return list(items)
