"""What image encoders share: decode and preprocess in threads, one network over the pictures of many clips."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mer_pipeline.batching import forward_rows
from mer_pipeline.clips import Clip, Row
from mer_pipeline.encoder import Encoder
from mer_pipeline.errors import Skip
from mer_pipeline.media import jpeg
from mer_pipeline.vision.faces import pictures_of

if TYPE_CHECKING:
    import torch


class ImageEncoder(Encoder["torch.Tensor"]):
    """Frames or face crops to one vector per picture, pooled over time. An item is (pictures, 3, side, side) float32.

    All pictures have the network's own size, so there is no padding but of the last group's rows.
    """

    uses_torch = True
    rows = 16

    def setup(self, device: torch.device) -> None:
        """Load the network."""
        self._device = device
        self.load(device)

    @abstractmethod
    def load(self, device: torch.device) -> None:
        """Load weights and preprocessing."""

    @abstractmethod
    def preprocess(self, picture: npt.NDArray[np.uint8]) -> torch.Tensor:
        """(height, width, 3) uint8 to (3, side, side) float32."""

    @abstractmethod
    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """(rows, 3, side, side) to (rows, dim)."""

    def prepare(self, clip: Clip) -> torch.Tensor:
        """Decode and preprocess."""
        import torch

        return torch.stack([self.preprocess(jpeg.decode(data)) for data in pictures_of(clip, self.params.input)])

    def infer(self, items: Sequence[torch.Tensor]) -> list[Row | Skip]:
        """One vector per picture, in fixed groups across clips; then each clip's mean."""
        import torch

        vectors = forward_rows(self.network, [torch.cat(list(items))], self.rows, self._device)
        return [self.pooled(np.stack([next(vectors).float().numpy() for _ in item])) for item in items]
