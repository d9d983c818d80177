"""What faces look like to a network that recognises people (looks.py): InceptionResnetV1 from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mer_pipeline.base.batching import forward_rows
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.vision.align import Picture, align
from mer_pipeline.vision.detector import Floats
from mer_pipeline.vision.inception import SIDE, load_inception, to_input
from mer_pipeline.vision.looks import Looks

if TYPE_CHECKING:
    import torch

CROP_MARGIN = 0.1  # of the crop that the network is given
ROWS = 8  # crops that the network is given at a time


class Embedded(Looks):
    """By InceptionResnetV1, whose vectors of two people differ by 1.1 or more (Schroff et al., 2015, figure 1).

    Args:
        checkpoint: its spec, such as "facenet:vggface2".

    Raises:
        CheckpointError: the files are missing or unfit.
    """

    same, other = 0.9, 1.2  # below and above the threshold: a wrong link costs more than a missing one

    def __init__(self, checkpoint: str | None = None) -> None:
        assert checkpoint is not None
        self.folder = resolve(checkpoint)

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint that decide its vectors."""
        return value_files(self.folder)

    def setup(self, device: torch.device) -> None:
        """Load the network onto a device."""
        self._device, self._network = device, load_inception(self.folder, device)

    def of(self, picture: Picture, landmarks: Floats) -> list[Floats]:
        """Describe faces, as `Looks.of` says, by vectors of unit length."""
        import torch

        if not len(landmarks):
            return []
        crops = torch.stack([to_input(align(picture, points, SIDE, CROP_MARGIN)) for points in landmarks])
        return [vector.numpy() for vector in forward_rows(self._network, [crops], ROWS, self._device)]
