"""The base of the encoders that run a network on pictures.

Pictures are decoded and preprocessed in threads, and the network runs on the pictures of many clips at once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from mer_pipeline.vision.faces import pictures_of, times_of

if TYPE_CHECKING:
    import torch

Picture = npt.NDArray[np.uint8]

TRIED = ((180, 320), (320, 180), (160, 160))  # height and width: frames lying and standing, a face crop


def picture_tensors(clip: Clip, table: str, preprocess: Callable[[Picture], torch.Tensor]) -> torch.Tensor:
    """Decode and preprocess the pictures of a clip.

    Args:
        clip: the clip, with its row of that table.
        table: "frames" or "faces".
        preprocess: turns a picture, (height, width, 3) uint8, into a network's input, (3, side, side) float32.

    Returns:
        (pictures, 3, side, side) float32.

    Raises:
        Skip: if the clip has no pictures.
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
    """Run a network on the pictures of many clips, in groups of a fixed number of rows.

    Args:
        network: takes (rows, 3, side, side) float32 and returns (rows, dim).
        items: the pictures of each clip, (pictures, 3, side, side) float32.
        rows: the number of rows in a group.
        device: where the network is.

    Yields:
        For each clip its vectors, (pictures, dim) float32.
    """
    import torch

    vectors = forward_rows(network, [torch.cat(list(items))], rows, device)
    for item in items:
        yield np.stack([next(vectors).float().numpy() for _ in item])


@dataclass(frozen=True)
class Pictures:
    """The pictures of one clip.

    Attributes:
        tensors: (pictures, 3, side, side) float32.
        times: (pictures,), in seconds since the clip's start.
    """

    tensors: torch.Tensor
    times: Sequence[float]


class ImageEncoder(PooledEncoder[Pictures]):
    """Base of the encoders that make one vector of each picture and average them over time.

    All pictures have the size that the network needs, so that only the number of rows in the last group is padded.
    """

    uses_torch = True
    batch_rows = 16

    def setup(self, device: torch.device) -> None:
        """Load the network onto a device."""
        self._device = device
        self.load(device)

    @abstractmethod
    def load(self, device: torch.device) -> None:
        """Load the weights onto a device, and what `preprocess` needs."""

    @abstractmethod
    def preprocess(self, picture: Picture) -> torch.Tensor:
        """Turn a picture into the network's input: (height, width, 3) uint8 to (3, side, side) float32."""

    @abstractmethod
    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Compute a vector for each picture: (rows, 3, side, side) float32 to (rows, dim)."""

    def prepare(self, clip: Clip) -> Pictures:
        """Decode and preprocess the pictures of a clip."""
        table = self.params.input
        return Pictures(picture_tensors(clip, table, self.preprocess), times_of(clip, table))

    def infer(self, items: Sequence[Pictures]) -> list[Row | Skip]:
        """Compute a vector for each picture, in fixed groups across clips, and average the vectors of each clip."""
        by_clip = rows_by_clip(self.network, [item.tensors for item in items], self.batch_rows, self._device)
        return [self.pooled(vectors, item.times) for item, vectors in zip(items, by_clip, strict=True)]
