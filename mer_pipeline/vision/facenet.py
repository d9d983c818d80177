"""`facenet`: InceptionResnetV1 (Schroff et al. 2015; weights by facenet-pytorch) on face crops."""

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
    """InceptionResnetV1; its folder has the state dict as safetensors."""

    input: Literal["faces"]  # the face crops


class Facenet(ImageEncoder):
    """Face crops to identity-and-expression vectors of unit length."""

    Params = FacenetParams

    def __init__(self, name: str, params: FacenetParams) -> None:
        self.folder = resolve(params.checkpoint)
        super().__init__(name, params, DIM)

    def files(self) -> Sequence[Path]:
        """The checkpoint's."""
        return value_files(self.folder)

    def load(self, device: torch.device) -> None:
        """Load the state dict; the classifier on top, if the file has it, is left out."""
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
        """To 160 pixels and (x - 127.5) / 128, as it was trained."""
        import torch

        image = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        pixels = (np.asarray(image, np.float32) - np.float32(127.5)) / np.float32(128)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Embeddings."""
        vectors: torch.Tensor = self._model(pictures)
        return vectors
