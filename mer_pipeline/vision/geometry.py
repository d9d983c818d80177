"""`face-geometry`: the primary face's landmarks and crop over time, without any model or download.

Three groups of numbers: where the aligned landmarks lie and how they move (expression), how the head moves
(nods, turns, approach), and oriented gradients of the aligned crop and their change (brows, eyes, mouth).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mer_pipeline.clips import Clip, Row
from mer_pipeline.encoder import Encoder, Vectors
from mer_pipeline.errors import Skip
from mer_pipeline.media import jpeg
from mer_pipeline.params import EncoderParams
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


class FaceGeometry(Encoder[Row]):
    """Faces to geometry, motion and appearance; all the work is in `prepare`."""

    def __init__(self, name: str, params: EncoderParams) -> None:
        super().__init__(name, params, DIM)

    def prepare(self, clip: Clip) -> Row:
        """Measure each face, then pool over time."""
        faces = Faces.of(clip.need("faces"))
        shapes = np.stack([shape(points) for points in faces.landmarks])
        looks = np.stack([gradients(jpeg.decode(crop), CROP_SIDE, CELLS) for crop in faces.crops])
        moving = [shapes.max(axis=0) - shapes.min(axis=0), change(shapes), head_motion(faces), change(looks)]
        fixed = np.broadcast_to(np.concatenate(moving).astype(np.float32), (len(shapes), sum(map(len, moving))))
        return self.pooled(np.concatenate([shapes, looks, fixed], axis=1))

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Nothing is left to do."""
        return list(items)
