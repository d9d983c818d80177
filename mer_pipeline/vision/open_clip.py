"""`open-clip`: the image tower of a CLIP model in open_clip's own format."""

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
    """The `model_cfg` of a checkpoint.

    Raises:
        CheckpointError: the folder is no open_clip model.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["model_cfg"]
        if isinstance(config, dict) and int(config["embed_dim"]) > 0:
            return config
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise CheckpointError(f"{folder} has no readable {CONFIG}; is it an open_clip model?")


def load_clip(folder: Path, device: torch.device) -> tuple[open_clip.CLIP, Callable[[Image.Image], torch.Tensor]]:
    """A model in fp32 for inference, and its own resize, crop and normalisation.

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
    """Image features of an open_clip model; its folder has `open_clip_config.json` and safetensors."""

    input: Literal["frames", "faces"]  # the pictures that are read


class OpenClip(ImageEncoder):
    """Pictures to image features before normalisation, as linear probes use them."""

    Params = OpenClipParams

    def __init__(self, name: str, params: OpenClipParams) -> None:
        self.folder = resolve(params.checkpoint)
        super().__init__(name, params, int(str(model_config(self.folder)["embed_dim"])))

    def files(self) -> Sequence[Path]:
        """The checkpoint's."""
        return value_files(self.folder)

    def load(self, device: torch.device) -> None:
        """Load the model; only its image tower is used."""
        self._model, self._transform = load_clip(self.folder, device)
        try_pictures(self.folder, self.preprocess, self.network, device)

    def preprocess(self, picture: Picture) -> torch.Tensor:
        """The checkpoint's own resize, crop and normalisation."""
        return self._transform(Image.fromarray(picture))

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Image features."""
        features: torch.Tensor = self._model.encode_image(pictures)
        return features
