"""Histograms of oriented gradients: a description of a picture that needs no model and no download."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 96  # pixels of the square that a picture is scaled to
CELLS = 6  # cells on each side of the grid
ORIENTATIONS = 8


def gradients(rgb: npt.NDArray[np.uint8], side: int = SIDE, cells: int = CELLS) -> npt.NDArray[np.float32]:
    """Compute the histograms of oriented gradients of one picture (Dalal and Triggs, 2005).

    Args:
        rgb: (height, width, 3) uint8.
        side: the picture is first scaled to side × side pixels; a multiple of `cells`.
        cells: the number of cells on each side of the grid.

    Returns:
        (cells * cells * ORIENTATIONS,) float32: the square roots of the histograms, scaled to unit length; zeros for a
        picture of one colour.

    Example:
        >>> picture = np.tile(np.arange(96, dtype=np.uint8)[None, :, None], (96, 1, 3))  # brighter to the right
        >>> first_cell = gradients(picture)[:ORIENTATIONS]
        >>> first_cell.nonzero()[0].tolist()  # only the horizontal gradient
        [0]
    """
    grey = np.asarray(Image.fromarray(rgb).convert("L").resize((side, side), Image.Resampling.BOX), np.float32)
    dy, dx = np.gradient(grey)
    strength = np.hypot(dx, dy)
    angle = np.mod(np.arctan2(dy, dx), np.pi) / np.pi * ORIENTATIONS
    low = np.floor(angle).astype(np.int64) % ORIENTATIONS
    share = (angle - np.floor(angle)).astype(np.float32)  # goes to the next bin: no jump at the edge
    cell = np.arange(side) * cells // side
    index = (cell[:, None] * cells + cell[None, :]) * ORIENTATIONS
    size = cells * cells * ORIENTATIONS
    histogram = np.bincount((index + low).ravel(), (strength * (1 - share)).ravel(), size)
    histogram += np.bincount((index + (low + 1) % ORIENTATIONS).ravel(), (strength * share).ravel(), size)
    rooted = np.sqrt(histogram)  # keeps a few strong edges from hiding the weak ones
    return (rooted / max(float(np.linalg.norm(rooted)), 1e-6)).astype(np.float32)
