"""`hf-vision`: encoders of pictures from Hugging Face: CLIP's projected image features, or a ViT's class token.

A checkpoint that classifies pictures, such as one of facial expressions, has a second use: with `output: scores` the
vector is what the classifier says. The judge `hf-image` votes by the same scores of the same checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from mer_pipeline.base.encoder import ModelParams
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.models.huggingface import Layers, check_layers, load_config, load_model, load_processor, sum_layers
from mer_pipeline.vision.image_encoder import ImageEncoder, Picture, try_pictures

if TYPE_CHECKING:
    import torch
    from transformers import BaseImageProcessor

# Models whose first token (the class token) stands for the whole picture. A classifier in a checkpoint is left out.
CLASS_TOKEN = ("vit", "dinov2", "deit", "beit")
SCORED = (*CLASS_TOKEN, "swin", "convnext")  # models that classify


def process(processor: BaseImageProcessor, picture: Picture) -> torch.Tensor:
    """Apply an image processor to one picture: (height, width, 3) uint8 to (3, side, side) float32."""
    tensor: torch.Tensor = processor(picture.copy(), return_tensors="pt", input_data_format="channels_last")[
        "pixel_values"
    ][0]
    return tensor


class HfVisionParams(ModelParams):
    """An image model from a Hugging Face folder: the projected features of CLIP, or the class token of ViT, DINOv2,
    DeiT or BEiT (models of facial expression too)."""

    input: Literal["frames", "faces"]  # the pictures that are read
    layers: Layers = 1  # sum of the last n hidden layers, or of these (0 = embeddings); CLIP ignores it
    # scores: the logarithms of the probabilities that the checkpoint's own classifier gives its labels
    output: Literal["features", "scores"] = "features"

    @model_validator(mode="after")
    def _scores_have_no_layers(self) -> HfVisionParams:
        if self.output == "scores" and self.layers != 1:
            raise ValueError("output 'scores' is of the whole model and reads no layers; take one of the two out")
        return self


class HfVision(ImageEncoder):
    """An encoder of pictures with a Hugging Face model.

    A CLIP model gives its projected image features. Any other gives its class token, summed over the hidden layers
    that `layers` names; or, with `output: scores`, a number for each label of its classifier. The softmax of the clip's
    mean vector is then the distribution that the judge `hf-image` has before it maps labels to classes.
    """

    Params = HfVisionParams
    params: HfVisionParams

    def __init__(self, name: str, params: HfVisionParams) -> None:
        self.folder = resolve(params.checkpoint)
        scored = params.output == "scores"
        self.config = load_config(self.folder, SCORED if scored else ("clip", *CLASS_TOKEN))
        if scored:
            super().__init__(name, params, self.config.num_labels)
            return
        self.is_clip = self.config.model_type == "clip"
        if not self.is_clip:
            check_layers(params.layers, self.config.num_hidden_layers, self.folder)
        super().__init__(name, params, self.config.projection_dim if self.is_clip else self.config.hidden_size)

    def key(self) -> Mapping[str, object]:
        """Leave the configuration out of the key, because its file is one of `files`."""
        return {"config": None}

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint that decide its vectors."""
        return value_files(self.folder)

    def load(self, device: torch.device) -> None:
        """Load the model onto a device, and its image processor.

        Raises:
            CheckpointError: if the files cannot be read, or are not complete.
        """
        import transformers

        if self.params.output == "scores":
            # No weight may be missing: with a classifier of random weights the scores would be random.
            model_class = transformers.AutoModelForImageClassification
            self._model = load_model(model_class, self.folder, device, unused=())
        else:
            loader = transformers.CLIPVisionModelWithProjection if self.is_clip else transformers.AutoModel
            self._model = load_model(loader, self.folder, device)
        self._processor = load_processor(transformers.AutoImageProcessor.from_pretrained, self.folder)
        try_pictures(self.folder, self.preprocess, self.network, device)

    def preprocess(self, picture: Picture) -> torch.Tensor:
        """Resize, crop and normalise a picture as the checkpoint says: (3, side, side) float32."""
        return process(self._processor, picture)

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Compute features or scores: (rows, 3, side, side) to (rows, dim), float32."""
        if self.params.output == "scores":
            scores: torch.Tensor = self._model(pixel_values=pictures).logits.log_softmax(dim=-1)
            return scores
        if self.is_clip:
            vectors: torch.Tensor = self._model(pixel_values=pictures).image_embeds
            return vectors
        if self.params.layers == 1:
            # The last hidden state is the one after the final normalisation.
            vectors = self._model(pixel_values=pictures).last_hidden_state[:, 0]
            return vectors
        states = self._model(pixel_values=pictures, output_hidden_states=True).hidden_states
        return sum_layers(states, self.params.layers)[:, 0]
