"""`open-clip`: the image tower of a CLIP model in open_clip's own format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from mer_pipeline.errors import CheckpointError
from mer_pipeline.models.checkpoint import resolve
from mer_pipeline.params import EncoderParams
from mer_pipeline.vision.image_encoder import ImageEncoder

if TYPE_CHECKING:
    import torch

CONFIG = "open_clip_config.json"


class OpenClip(ImageEncoder):
    """Pictures to image features before normalisation, as linear probes use them."""

    def __init__(self, name: str, params: EncoderParams) -> None:
        assert params.checkpoint is not None
        self.folder = resolve(params.checkpoint)
        try:
            config = json.loads((self.folder / CONFIG).read_text(encoding="utf-8"))
            dim = int(config["model_cfg"]["embed_dim"])
        except (OSError, ValueError, KeyError, TypeError):
            raise CheckpointError(f"{self.folder} has no readable {CONFIG}; is it an open_clip model?") from None
        super().__init__(name, params, dim)

    def load(self, device: torch.device) -> None:
        """Load the model; only its image tower is used."""
        import open_clip

        try:
            self._model, self._transform = open_clip.create_model_from_pretrained(
                f"local-dir:{self.folder}", precision="fp32", device=device
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise CheckpointError(f"{self.folder} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
        self._model.eval()

    def preprocess(self, picture: npt.NDArray[np.uint8]) -> torch.Tensor:
        """The checkpoint's own resize, crop and normalisation."""
        tensor: torch.Tensor = self._transform(Image.fromarray(picture))
        return tensor

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Image features."""
        features: torch.Tensor = self._model.encode_image(pictures)
        return features
