"""The judge `open-clip`: a zero-shot classifier that measures how well pictures fit the captions of each class.

The captions of a class form a prompt ensemble, as in the CLIP paper (Radford et al. 2021, section 3.1.4): their
embeddings are normalised, averaged, and normalised again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from mer_pipeline.base.batching import forward_rows
from mer_pipeline.base.clips import Row
from mer_pipeline.judges.captions import captions_file, read_captions, without_captions
from mer_pipeline.judges.judge import ModelJudgeParams, softmax
from mer_pipeline.judges.pictures import PictureJudge
from mer_pipeline.models.checkpoint import loading, resolve, value_files
from mer_pipeline.models.huggingface import load_tokenizer as load_own_tokenizer
from mer_pipeline.vision.image_encoder import Picture, try_pictures
from mer_pipeline.vision.open_clip import load_clip, model_config

if TYPE_CHECKING:
    import torch


class ZeroShotParams(ModelJudgeParams):
    """A zero-shot classifier: how well the pictures fit the captions of each class."""

    input: Literal["faces", "frames"]  # the pictures that are read
    captions: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "face"  # prompts/captions-NAME.tsv


class ZeroShot(PictureJudge):
    """Vote by logits that are the cosines of picture and class, times the model's own scale."""

    Params = ZeroShotParams

    def __init__(self, name: str, params: ZeroShotParams, classes: tuple[str, ...]) -> None:
        self.folder = resolve(params.checkpoint)
        model_config(self.folder)
        self.path = captions_file(params.captions)
        read_captions(self.path, classes)
        super().__init__(name, params, classes)

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint, and the file of captions."""
        return (*value_files(self.folder), self.path)

    def note(self, clip_ids: Callable[[], Collection[str]]) -> str:
        """Name the classes whose only caption is their own name."""
        del clip_ids
        bare = ", ".join(f"'{name}'" for name in without_captions(self.path, self.classes))
        return f"{self.path} has no caption for {bare}, so the class's own name is the caption" if bare else ""

    def setup(self, device: torch.device) -> None:
        """Load the model, and embed the captions."""
        super().setup(device)
        self._model, self._transform = load_clip(self.folder, device)
        self._classes = self._embed(read_captions(self.path, self.classes))
        try_pictures(self.folder, self.preprocess, self.network, device)

    def _embed(self, captions: list[list[str]]) -> torch.Tensor:
        """Return one vector of unit length per class, (classes, dim)."""
        import torch

        tokenize = load_tokenizer(self.folder)
        classes = []
        for texts in captions:
            vectors = forward_rows(self._model.encode_text, [tokenize(texts)], self.batch_rows, self._device)
            unit = torch.nn.functional.normalize(torch.stack(list(vectors)), dim=-1)
            classes.append(torch.nn.functional.normalize(unit.mean(dim=0), dim=-1))
        return torch.stack(classes).to(self._device)

    def preprocess(self, picture: Picture) -> torch.Tensor:
        """Resize, crop and normalise the picture as the checkpoint's transform does."""
        return self._transform(Image.fromarray(picture))

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the scaled cosines (rows, classes).

        The bias of a SigLIP model is left out: it is the same for all classes, so the softmax removes it.
        """
        import torch

        vectors = torch.nn.functional.normalize(self._model.encode_image(pictures), dim=-1)
        logits: torch.Tensor = self._model.logit_scale.exp() * vectors @ self._classes.T
        return logits

    def decide(self, logits: npt.NDArray[np.float64]) -> Row:
        """Return the row for a clip's mean logits (classes,)."""
        return self.verdict(softmax(logits))


def load_tokenizer(folder: Path) -> Callable[[list[str]], torch.Tensor]:
    """Return the tokenizer of a checkpoint, which turns texts into token ids (texts, length). Nothing is downloaded.

    Raises:
        CheckpointError: the checkpoint's own tokenizer is missing or not usable.
    """
    import open_clip

    text = model_config(folder).get("text_cfg")
    # A Hugging Face tokenizer is in the checkpoint's folder. Otherwise it is CLIP's, which open_clip contains.
    own = isinstance(text, dict) and text.get("hf_tokenizer_name")
    options = {"local_files_only": True, "trust_remote_code": False} if own else {}
    if own:
        load_own_tokenizer(folder)
    with loading(folder, "its tokenizer cannot be loaded"):
        tokenize: Callable[[list[str]], torch.Tensor] = open_clip.get_tokenizer(f"local-dir:{folder}", **options)
    return tokenize
