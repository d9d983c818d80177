"""What a face looks like, as numbers that say whether two faces are one person's.

The description needs no model: oriented gradients of the aligned face, and the colours of a grid that reaches from
the hair to the collar. Hair and clothes tell the people of one scene apart better than a face of few pixels. It is made
for the faces of one clip, under the light of one scene. It does not recognise people.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from mer_pipeline.vision.align import Picture, align
from mer_pipeline.vision.detector import Floats
from mer_pipeline.vision.gradients import gradients

FACE_SIDE, FACE_MARGIN, CELLS = 48, 0.15, 6  # of the crop that gradients are taken of
AROUND_SIDE, AROUND_MARGIN, GRID = 32, 0.7, 8  # of the crop that colours are taken of
CENTRE = (slice(2, 8), slice(3, 5))  # of the grid's rows and columns: the others show the room
COLOUR = 6.0  # how much a mean difference of 1 (black to white) counts; gradients without a common edge differ by 1.4


def look(picture: Picture, landmarks: Floats) -> Floats:
    """Describe a face.

    Args:
        picture: (height, width, 3) uint8.
        landmarks: (5, 2) float32, in pixels of the picture.

    Returns:
        (n,) float32; `unlike` compares two of these.
    """
    face = gradients(align(picture, landmarks, FACE_SIDE, FACE_MARGIN), FACE_SIDE, CELLS)
    around = Image.fromarray(align(picture, landmarks, AROUND_SIDE, AROUND_MARGIN))
    grid = np.asarray(around.resize((GRID, GRID), Image.Resampling.BOX), np.float32)[CENTRE].ravel() / 255
    return np.concatenate([face, COLOUR / np.sqrt(len(grid)) * grid]).astype(np.float32)


def unlike(one: Floats, other: Floats) -> float:
    """Return how much two faces differ: 0 for the same picture."""
    return float(np.sqrt(np.square(one - other).sum()))


def mean_look(looks: list[Floats]) -> Floats:
    """Return the mean description of several pictures of one face."""
    mean: Floats = np.mean(np.stack(looks), axis=0, dtype=np.float32)
    return mean
