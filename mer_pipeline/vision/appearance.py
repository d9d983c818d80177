"""`appearance`: what a picture looks like and how it changes, without any model or download.

Histograms of oriented gradients (Dalal & Triggs 2005) on a grid of cells and mean colours, averaged over the
clip's pictures, and their mean absolute change from one picture to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import PooledEncoder, PooledParams, Vectors
from mer_pipeline.base.errors import Skip
from mer_pipeline.media import jpeg
from mer_pipeline.vision.faces import pictures_of

SIDE = 96  # pixels of the square that a picture is scaled to
CELLS = 6
ORIENTATIONS = 8
PICTURE_DIM = CELLS * CELLS * ORIENTATIONS


def gradients(rgb: npt.NDArray[np.uint8], side: int = SIDE, cells: int = CELLS) -> Vectors:
    """Oriented-gradient histograms of one picture: (cells * cells * ORIENTATIONS,) float32, of unit length.

    Args:
        rgb: (height, width, 3) uint8.
        side: the picture is scaled to side × side pixels; a multiple of `cells`.
        cells: a side of the grid.
    """
    grey = np.asarray(Image.fromarray(rgb).convert("L").resize((side, side), Image.Resampling.BOX), np.float32)
    dy, dx = np.gradient(grey)
    strength = np.hypot(dx, dy)
    angle = np.mod(np.arctan2(dy, dx), np.pi) / np.pi * ORIENTATIONS
    low = np.floor(angle).astype(np.int64) % ORIENTATIONS
    share = (angle - np.floor(angle)).astype(np.float32)  # of the next orientation: no jump at a bin's edge
    cell = np.arange(side) * cells // side
    index = (cell[:, None] * cells + cell[None, :]) * ORIENTATIONS
    size = cells * cells * ORIENTATIONS
    histogram = np.bincount((index + low).ravel(), (strength * (1 - share)).ravel(), size)
    histogram += np.bincount((index + (low + 1) % ORIENTATIONS).ravel(), (strength * share).ravel(), size)
    rooted = np.sqrt(histogram)  # a few strong edges shall not drown the rest
    return (rooted / max(float(np.linalg.norm(rooted)), 1e-6)).astype(np.float32)


def change(steps: Vectors) -> Vectors:
    """Mean absolute change between neighbours of (steps, dim): (dim,); zeros for a single step."""
    if len(steps) < 2:
        return np.zeros(steps.shape[1], np.float32)
    moved: Vectors = np.abs(np.diff(steps, axis=0)).mean(axis=0)
    return moved


class AppearanceParams(PooledParams):
    """Oriented gradients, colour and their change."""

    input: Literal["frames", "faces"]  # the pictures that are read


class Appearance(PooledEncoder[Row]):
    """Frames or faces to gradients, colour and their change; all the work is in `prepare`."""

    Params = AppearanceParams

    def __init__(self, name: str, params: AppearanceParams) -> None:
        super().__init__(name, params, 2 * (PICTURE_DIM + 3))

    def prepare(self, clip: Clip) -> Row:
        """Decode and describe each picture."""
        pictures = [jpeg.decode(data) for data in pictures_of(clip, self.params.input)]
        colours = np.stack([picture.mean(axis=(0, 1)) / 255 for picture in pictures])
        steps = np.concatenate([np.stack([gradients(picture) for picture in pictures]), colours], axis=1)
        steps = steps.astype(np.float32)
        moving = np.broadcast_to(change(steps), steps.shape)
        return self.pooled(np.concatenate([steps, moving], axis=1))

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Nothing is left to do."""
        return list(items)
