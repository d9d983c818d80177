"""The judge `hf-image`: a Hugging Face image classifier, such as one trained on facial expressions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.judges.label_map import MappedParams, columns_of, labels_of
from mer_pipeline.judges.pictures import PictureJudge
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.models.huggingface import load_config, load_model, load_processor
from mer_pipeline.vision.hf_vision import process
from mer_pipeline.vision.image_encoder import Picture, try_pictures

if TYPE_CHECKING:
    import torch

MODELS = ("vit", "deit", "beit", "dinov2", "swin", "convnext")


class HfImageParams(MappedParams):
    """A Hugging Face image classifier: ViT, DeiT, BEiT, DINOv2, Swin, ConvNeXt."""

    input: Literal["frames", "faces"]  # the pictures that are read


class HfImage(PictureJudge):
    """Classify pictures by the checkpoint's labels, and map these to classes."""

    Params = HfImageParams

    def __init__(self, name: str, params: HfImageParams, classes: tuple[str, ...]) -> None:
        self.folder = resolve(params.checkpoint)
        config = load_config(self.folder, MODELS)
        self.columns = columns_of(name, params.map, labels_of(config), classes)
        super().__init__(name, params, classes)

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint."""
        return value_files(self.folder)

    def setup(self, device: torch.device) -> None:
        """Load the model and its image processor."""
        import transformers

        super().setup(device)
        # No weight may be missing: with a classifier of random weights the votes would be random.
        self._model = load_model(transformers.AutoModelForImageClassification, self.folder, device, unused=())
        self._processor = load_processor(transformers.AutoImageProcessor.from_pretrained, self.folder)
        try_pictures(self.folder, self.preprocess, self.network, device)

    def preprocess(self, picture: Picture) -> torch.Tensor:
        """Resize, crop and normalise the picture as the checkpoint's image processor does."""
        return process(self._processor, picture)

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the model's logits (rows, labels)."""
        logits: torch.Tensor = self._model(pixel_values=pictures).logits
        return logits

    def decide(self, logits: npt.NDArray[np.float64]) -> Row | Skip:
        """Return the row for a clip's mean logits (labels,), one per label of the checkpoint."""
        return self.columns.vote(self, logits)
