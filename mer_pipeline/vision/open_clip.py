"""`open-clip`: an encoder of pictures with the image network of a CLIP model in open_clip's own format."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from mer_pipeline.base.encoder import ModelParams
from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.models.checkpoint import check_finite, loading, resolve, value_files
from mer_pipeline.vision.image_encoder import ImageEncoder, Picture, try_pictures

if TYPE_CHECKING:
    import open_clip
    import torch

CONFIG = "open_clip_config.json"


def model_config(folder: Path) -> dict[str, object]:
    """Read the model's configuration (`model_cfg` in `open_clip_config.json`) from a checkpoint's folder.

    Raises:
        CheckpointError: if the folder is not an open_clip model.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_cfg"]
        if isinstance(config, dict) and int(config["embed_dim"]) > 0:
            return config
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise CheckpointError(f"{folder} has no readable {CONFIG}; is it an open_clip model?")


def load_clip(folder: Path, device: torch.device) -> tuple[open_clip.CLIP, Callable[[Image.Image], torch.Tensor]]:
    """Load a model in float32 for inference.

    Args:
        folder: the folder of the checkpoint.
        device: where the model is put.

    Returns:
        The model, and the function that resizes, crops and normalises a picture for it.

    Raises:
        CheckpointError: its files are unreadable or incomplete, or have weights that are no numbers.
    """
    import open_clip

    with loading(folder, "its weights cannot be loaded"):
        model, preprocess = open_clip.create_model_from_pretrained(
            f"local-dir:{folder}", precision="fp32", device=device
        )
    check_finite(folder, model)
    return model.eval(), preprocess


class OpenClipParams(ModelParams):
    """Image features of an open_clip model. The checkpoint's folder has `open_clip_config.json` and safetensors."""

    input: Literal["frames", "faces"]  # the pictures that are read


class OpenClip(ImageEncoder):
    """An encoder of pictures by image features before their normalisation to unit length, as for linear probes."""

    Params = OpenClipParams

    def __init__(self, name: str, params: OpenClipParams) -> None:
        self.folder = resolve(params.checkpoint)
        super().__init__(name, params, int(str(model_config(self.folder)["embed_dim"])))

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint that decide its vectors."""
        return value_files(self.folder)

    def load(self, device: torch.device) -> None:
        """Load the model onto a device. Only its image network is used."""
        self._model, self._transform = load_clip(self.folder, device)
        try_pictures(self.folder, self.preprocess, self.network, device)

    def preprocess(self, picture: Picture) -> torch.Tensor:
        """Resize, crop and normalise a picture as the checkpoint says: (3, side, side) float32."""
        return self._transform(Image.fromarray(picture))

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Compute image features: (rows, 3, side, side) float32 to (rows, dim) float32."""
        features: torch.Tensor = self._model.encode_image(pictures)
        return features
