"""`hf-image`: Hugging Face image classifiers, such as those trained on expressions of faces."""

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
    """Pictures to the checkpoint's own labels, and by the map to classes."""

    Params = HfImageParams

    def __init__(self, name: str, params: HfImageParams, classes: tuple[str, ...]) -> None:
        self.folder = resolve(params.checkpoint)
        config = load_config(self.folder, MODELS)
        self.columns = columns_of(name, params.map, labels_of(config), classes)
        super().__init__(name, params, classes)

    def files(self) -> Sequence[Path]:
        """The checkpoint's."""
        return value_files(self.folder)

    def setup(self, device: torch.device) -> None:
        """Load the model and its image processor."""
        import transformers

        super().setup(device)
        # No weight may be missing: without the classifier's its votes would be chance.
        self._model = load_model(transformers.AutoModelForImageClassification, self.folder, device, unused=())
        self._processor = load_processor(transformers.AutoImageProcessor.from_pretrained, self.folder)
        try_pictures(self.folder, self.preprocess, self.network, device)

    def preprocess(self, picture: Picture) -> torch.Tensor:
        """The checkpoint's own resize, crop and normalisation."""
        return process(self._processor, picture)

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self._model(pixel_values=pictures).logits
        return logits

    def decide(self, logits: npt.NDArray[np.float64]) -> Row | Skip:
        """One logit per label of the checkpoint."""
        return self.columns.vote(self, logits)
