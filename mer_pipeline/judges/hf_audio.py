"""The judge `hf-audio`: a Hugging Face audio classifier on 16 kHz sound, such as one trained on emotional speech.

Padding is masked as in the encoders (`speech/sound_model.py`), with one exception: Whisper's classifier is trained on
the mean over its whole window of 30 s, including the padding, so its padding isn't masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.judges.judge import Judge
from mer_pipeline.judges.label_map import MappedParams, columns_of, labels_of
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.models.huggingface import load_model
from mer_pipeline.speech.sound_model import Chunks, SoundModel
from mer_pipeline.speech.track import Sound

if TYPE_CHECKING:
    import torch

CHUNK_SECONDS = 20.0  # longer clips are cut into equal chunks

# Weights that a checkpoint may have or lack: only training uses them.
UNUSED = tuple(f"{kind}.masked_spec_embed" for kind in ("hubert", "wav2vec2", "wavlm", "data2vec_audio"))


class HfAudioParams(MappedParams):
    """A Hugging Face audio classifier: HuBERT, wav2vec 2.0, WavLM, data2vec, Whisper."""

    input: Literal["audio"]  # the sound track


class HfAudio(Judge[Chunks]):
    """Classify sound by the checkpoint's labels, and map these to classes."""

    Params = HfAudioParams
    uses_torch = True
    cpu_rows = 1  # as fast on a core as four at a time, and no row is a copy that fills a batch up

    def __init__(self, name: str, params: HfAudioParams, classes: tuple[str, ...]) -> None:
        self.sound = SoundModel(resolve(params.checkpoint))
        self.columns = columns_of(name, params.map, labels_of(self.sound.config), classes)
        self.batch_rows = self.sound.batch_rows
        super().__init__(name, params, classes)

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint."""
        return value_files(self.sound.folder)

    def key(self) -> Mapping[str, object]:
        """Nothing is added to `files`, because the configuration of the checkpoint is one of them."""
        return {"sound.config": None}

    def setup(self, device: torch.device) -> None:
        """Load the model and its feature extractor."""
        import transformers

        model_class = transformers.AutoModelForAudioClassification
        self.sound.use(load_model(model_class, self.sound.folder, device, UNUSED), device)

    def prepare(self, clip: Clip) -> Chunks:
        """Cut the sound into chunks, and normalise each one as the checkpoint's feature extractor does."""
        return self.sound.chunks(Sound.of(clip.need("audio")).samples, CHUNK_SECONDS)

    def bucket(self, item: Chunks) -> int:
        """Return the length in samples that the chunks are padded to."""
        return self.sound.bucket(item)

    def infer(self, items: Sequence[Chunks]) -> list[Row | Skip]:
        """Compute the logits of all chunks in batches of fixed size, and average each clip's, weighted by length."""
        chunks = self.sound.forward(self._network, items, self.rows_on(self.sound.device.type))
        rows: list[Row | Skip] = []
        for item in items:
            logits = np.stack([next(chunks).float().numpy() for _ in item.lengths]).astype(np.float64)
            rows.append(self.columns.vote(self, np.average(logits, axis=0, weights=item.lengths)))
        return rows

    def _network(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits (rows, labels) for inputs (rows, samples) or (rows, mels, frames)."""
        logits: torch.Tensor = self.sound.model(inputs, **self.sound.mask(inputs, lengths)).logits
        return logits
