"""What image encoders share: decode and preprocess in threads, one network over the pictures of many clips."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.batching import forward_rows
from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import PooledEncoder
from mer_pipeline.base.errors import CheckpointError, Skip
from mer_pipeline.media import jpeg
from mer_pipeline.models.checkpoint import loading
from mer_pipeline.vision.faces import pictures_of

if TYPE_CHECKING:
    import torch

Picture = npt.NDArray[np.uint8]

TRIED = ((180, 320), (320, 180), (160, 160))  # height and width: frames lying and standing, a face crop


def picture_tensors(clip: Clip, table: str, preprocess: Callable[[Picture], torch.Tensor]) -> torch.Tensor:
    """A clip's pictures as a network takes them: (pictures, 3, side, side) float32.

    Args:
        clip: which.
        table: "frames" or "faces".
        preprocess: (height, width, 3) uint8 to (3, side, side) float32.

    Raises:
        Skip: there are none.
    """
    import torch

    return torch.stack([preprocess(jpeg.decode(data)) for data in pictures_of(clip, table)])


def try_pictures(
    folder: Path,
    preprocess: Callable[[Picture], torch.Tensor],
    network: Callable[[torch.Tensor], torch.Tensor],
    device: torch.device,
) -> None:
    """Try grey pictures on a checkpoint that was just loaded: what does not fit shows now, and not at every clip.

    Args:
        folder: for the message.
        preprocess: (height, width, 3) uint8 to (3, side, side) float32.
        network: (rows, 3, side, side) to (rows, dim).
        device: where the network is.

    Raises:
        CheckpointError: pictures come out in several sizes, or in one that the network does not take.
    """
    import torch

    with loading(folder, "its preprocessing does not fit its model"):
        tensors = [preprocess(np.full((*size, 3), 128, np.uint8)) for size in TRIED]
        sizes = sorted({tuple(tensor.shape) for tensor in tensors})
        if len(sizes) > 1:
            raise CheckpointError(
                f"{folder}: its preprocessing makes pictures of several sizes ({', '.join(map(str, sizes))}); it must "
                "resize or crop them to one, by `size` or `crop_size` with a height and a width"
            )
        with torch.inference_mode():
            network(tensors[0][None].to(device))


def rows_by_clip(
    network: Callable[[torch.Tensor], torch.Tensor], items: Sequence[torch.Tensor], rows: int, device: torch.device
) -> Iterator[npt.NDArray[np.float32]]:
    """Pictures of many clips through a network in fixed groups; for each clip (pictures, dim) float32."""
    import torch

    vectors = forward_rows(network, [torch.cat(list(items))], rows, device)
    for item in items:
        yield np.stack([next(vectors).float().numpy() for _ in item])


class ImageEncoder(PooledEncoder["torch.Tensor"]):
    """Frames or face crops to one vector per picture, pooled over time. An item is (pictures, 3, side, side) float32.

    All pictures have the network's own size, so there is no padding but of the last group's rows.
    """

    uses_torch = True
    batch_rows = 16

    def setup(self, device: torch.device) -> None:
        """Load the network."""
        self._device = device
        self.load(device)

    @abstractmethod
    def load(self, device: torch.device) -> None:
        """Load weights and preprocessing."""

    @abstractmethod
    def preprocess(self, picture: Picture) -> torch.Tensor:
        """(height, width, 3) uint8 to (3, side, side) float32."""

    @abstractmethod
    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """(rows, 3, side, side) to (rows, dim)."""

    def prepare(self, clip: Clip) -> torch.Tensor:
        """Decode and preprocess."""
        return picture_tensors(clip, self.params.input, self.preprocess)

    def infer(self, items: Sequence[torch.Tensor]) -> list[Row | Skip]:
        """One vector per picture, in fixed groups across clips; then each clip's mean."""
        return [self.pooled(vectors) for vectors in rows_by_clip(self.network, items, self.batch_rows, self._device)]
