"""`appearance`: an encoder of what pictures look like and how they change; it needs no model and no download.

Each picture is described by histograms of oriented gradients (Dalal and Triggs, 2005) on a grid of cells and by its
mean colour. The features of a clip are the mean of these numbers over its pictures, and their mean absolute change
from one picture to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import PooledEncoder, PooledParams, Vectors
from mer_pipeline.base.errors import Skip
from mer_pipeline.media import jpeg
from mer_pipeline.vision.faces import pictures_of, times_of
from mer_pipeline.vision.gradients import CELLS, ORIENTATIONS, gradients

PICTURE_DIM = CELLS * CELLS * ORIENTATIONS


def change(steps: Vectors) -> Vectors:
    """Compute the mean absolute change from one step to the next.

    Args:
        steps: (steps, dim) float32.

    Returns:
        (dim,) float32; zeros if there is only one step.

    Example:
        >>> change(np.array([[0, 5], [1, 5], [-1, 5]], np.float32)).tolist()
        [1.5, 0.0]
    """
    if len(steps) < 2:
        return np.zeros(steps.shape[1], np.float32)
    moved: Vectors = np.abs(np.diff(steps, axis=0)).mean(axis=0)
    return moved


class AppearanceParams(PooledParams):
    """Oriented gradients, colour and their change."""

    input: Literal["frames", "faces"]  # the pictures that are read


class Appearance(PooledEncoder[Row]):
    """An encoder of frames or face crops by gradients, colours and their change. `prepare` does all the work."""

    Params = AppearanceParams

    def __init__(self, name: str, params: AppearanceParams) -> None:
        super().__init__(name, params, 2 * (PICTURE_DIM + 3))

    def prepare(self, clip: Clip) -> Row:
        """Decode the clip's pictures, compute the features of each and average them."""
        pictures = [jpeg.decode(data) for data in pictures_of(clip, self.params.input)]
        colours = np.stack([picture.mean(axis=(0, 1)) / 255 for picture in pictures])
        steps = np.concatenate([np.stack([gradients(picture) for picture in pictures]), colours], axis=1)
        steps = steps.astype(np.float32)
        moving = np.broadcast_to(change(steps), steps.shape)
        return self.pooled(np.concatenate([steps, moving], axis=1), times_of(clip, self.params.input))

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Return the rows as they are: `prepare` has done all the work."""
        return list(items)
