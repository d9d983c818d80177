"""`facenet`: an encoder of face crops with InceptionResnetV1, as facenet-pytorch has it (Schroff et al., 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from mer_pipeline.base.encoder import ModelParams
from mer_pipeline.models.checkpoint import check_complete, check_finite, loading, resolve, value_files
from mer_pipeline.vision.image_encoder import ImageEncoder

if TYPE_CHECKING:
    import torch

DIM = 512
SIDE = 160


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
        """Load the weights onto a device. The last layer, a classifier, is left out if the file has it.

        Raises:
            CheckpointError: if the files cannot be read, or are not complete.
        """
        from facenet_pytorch import InceptionResnetV1
        from safetensors.torch import load_file

        model = InceptionResnetV1(pretrained=None, classify=False)
        with loading(self.folder, "its weights cannot be loaded"):
            state: dict[str, torch.Tensor] = {}
            for file in sorted(self.folder.glob("*.safetensors")):
                state |= {name: value for name, value in load_file(file).items() if not name.startswith("logits.")}
            check_complete(self.folder, model.state_dict().keys() - state.keys())
            model.load_state_dict(state)
        check_finite(self.folder, model)
        self._model = model.eval().requires_grad_(False).to(device)

    def preprocess(self, picture: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Scale a face crop to 160 × 160 pixels and its values to (x - 127.5) / 128, as in the model's training."""
        import torch

        image = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        pixels = (np.asarray(image, np.float32) - np.float32(127.5)) / np.float32(128)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Compute the embeddings of face crops: (rows, 3, 160, 160) float32 to (rows, 512) float32."""
        vectors: torch.Tensor = self._model(pictures)
        return vectors
