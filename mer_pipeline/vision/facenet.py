"""`facenet`: an encoder of face crops with InceptionResnetV1, as facenet-pytorch has it (Schroff et al., 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.encoder import ModelParams
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.vision.image_encoder import ImageEncoder
from mer_pipeline.vision.inception import DIM, load_inception, to_input

if TYPE_CHECKING:
    import torch


class FacenetParams(ModelParams):
    """InceptionResnetV1 of facenet-pytorch. The checkpoint's folder has its state dict as safetensors."""

    input: Literal["faces"]  # the face crops


class Facenet(ImageEncoder):
    """An encoder of face crops. Each crop gives a vector of unit length that shows identity and expression."""

    Params = FacenetParams

    def __init__(self, name: str, params: FacenetParams) -> None:
        self.folder = resolve(params.checkpoint)
        super().__init__(name, params, DIM)

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint that decide its vectors."""
        return value_files(self.folder)

    def load(self, device: torch.device) -> None:
        """Load the weights onto a device.

        Raises:
            CheckpointError: if the files cannot be read, or are not complete.
        """
        self._model = load_inception(self.folder, device)

    def preprocess(self, picture: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Scale a face crop and its values as the network wants them."""
        return to_input(picture)

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Compute the embeddings of face crops: (rows, 3, 160, 160) float32 to (rows, 512) float32."""
        vectors: torch.Tensor = self._model(pictures)
        return vectors
