"""What a face looks like, as numbers that say whether two faces of a clip are one person's.

`Described` needs no model: oriented gradients of the aligned face, and the colours of a grid that reaches from the hair
to the collar. Hair and clothes tell the people of one scene apart better than a face of few pixels. It is made for the
faces of one clip, under the light of one scene. `embedded.py` asks a network that recognises people instead, where
params.yaml names its checkpoint.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mer_pipeline.config.components import LOOKS
from mer_pipeline.vision.align import Picture, align
from mer_pipeline.vision.detector import Floats
from mer_pipeline.vision.gradients import gradients

if TYPE_CHECKING:
    import torch

FACE_SIDE, FACE_MARGIN, CELLS = 48, 0.15, 6  # of the crop that gradients are taken of
AROUND_SIDE, AROUND_MARGIN, GRID = 32, 0.7, 8  # of the crop that colours are taken of
CENTRE = (slice(2, 8), slice(3, 5))  # of the grid's rows and columns: the others show the room
COLOUR = 6.0  # how much a mean difference of 1 (black to white) counts; gradients without a common edge differ by 1.4


class Looks(ABC):
    """A way to describe faces.

    Args:
        checkpoint: the spec of the network that is asked; None where none is.

    Attributes:
        same: tracks that are no more unlike are one person's.
        other: faces that are more unlike are not linked within a shot, however near they are.
    """

    same: float
    other: float

    def __init__(self, checkpoint: str | None = None) -> None:
        del checkpoint

    def files(self) -> Sequence[Path]:
        """The files with the weights."""
        return ()

    def setup(self, device: torch.device) -> None:
        """Load the weights onto a device."""
        del device

    @abstractmethod
    def of(self, picture: Picture, landmarks: Floats) -> list[Floats]:
        """Describe faces.

        Args:
            picture: (height, width, 3) uint8.
            landmarks: (k, 5, 2) float32, in pixels of the picture.

        Returns:
            For each of the k faces (n,) float32; `unlike` compares two of these.
        """


class Described(Looks):
    """By gradients and colours."""

    # Over the cuts of tests/scenes.py, 7 of 168 pairs of one person's tracks are more unlike than `same`, and 6 of 192
    # pairs of two people's are less.
    same, other = 0.32, 1.05

    def of(self, picture: Picture, landmarks: Floats) -> list[Floats]:
        """Describe faces, as `Looks.of` says."""
        return [self._of(picture, points) for points in landmarks]

    def _of(self, picture: Picture, landmarks: Floats) -> Floats:
        face = gradients(align(picture, landmarks, FACE_SIDE, FACE_MARGIN), FACE_SIDE, CELLS)
        around = Image.fromarray(align(picture, landmarks, AROUND_SIDE, AROUND_MARGIN))
        grid = np.asarray(around.resize((GRID, GRID), Image.Resampling.BOX), np.float32)[CENTRE].ravel() / 255
        return np.concatenate([face, COLOUR / np.sqrt(len(grid)) * grid]).astype(np.float32)


def make_looks(checkpoint: str | None) -> Looks:
    """Make the way to describe faces: by a face network where its spec is given, else without one.

    The network's class is in a table, as components are: where it is not used, it is no part of a row's key.
    """
    return LOOKS.load("described" if checkpoint is None else "embedded")(checkpoint)


def unlike(one: Floats, other: Floats) -> float:
    """Return how much two faces differ: 0 for the same picture."""
    return float(np.sqrt(np.square(one - other).sum()))


def mean_look(looks: list[Floats]) -> Floats:
    """Return the mean description of several pictures of one face."""
    mean: Floats = np.mean(np.stack(looks), axis=0, dtype=np.float32)
    return mean
