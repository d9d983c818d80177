"""`hf-audio`: Hugging Face audio classifiers on 16 kHz sound, such as those trained on emotional speech.

Padding is masked as in the encoders (`speech/sound_model.py`), with one exception that is the model's own:
Whisper's classifier is trained on the mean over its whole window of 30 s, silence and all.
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

# Only training reads it.
UNUSED = tuple(f"{kind}.masked_spec_embed" for kind in ("hubert", "wav2vec2", "wavlm", "data2vec_audio"))


class HfAudioParams(MappedParams):
    """A Hugging Face audio classifier: HuBERT, wav2vec 2.0, WavLM, data2vec, Whisper."""

    input: Literal["audio"]  # the sound track


class HfAudio(Judge[Chunks]):
    """Sound to the checkpoint's own labels, and by the map to classes."""

    Params = HfAudioParams
    uses_torch = True

    def __init__(self, name: str, params: HfAudioParams, classes: tuple[str, ...]) -> None:
        self.sound = SoundModel(resolve(params.checkpoint))
        self.columns = columns_of(name, params.map, labels_of(self.sound.config), classes)
        self.batch_rows = self.sound.batch_rows
        super().__init__(name, params, classes)

    def files(self) -> Sequence[Path]:
        """The checkpoint's."""
        return value_files(self.sound.folder)

    def key(self) -> Mapping[str, object]:
        """Nothing beyond `files`: the configuration is one of them."""
        return {"sound.config": None}

    def setup(self, device: torch.device) -> None:
        """Load the model and its feature extractor."""
        import transformers

        model_class = transformers.AutoModelForAudioClassification
        self.sound.use(load_model(model_class, self.sound.folder, device, UNUSED), device)

    def prepare(self, clip: Clip) -> Chunks:
        """Cut into chunks and normalise each as the checkpoint wants it."""
        return self.sound.chunks(Sound.of(clip.need("audio")).samples, CHUNK_SECONDS)

    def bucket(self, item: Chunks) -> int:
        """The padded length in samples."""
        return self.sound.bucket(item)

    def infer(self, items: Sequence[Chunks]) -> list[Row | Skip]:
        """Logits of all clips' chunks in fixed groups; then each clip's mean, weighted by the chunks' lengths."""
        chunks = self.sound.forward(self._network, items, self.batch_rows)
        rows: list[Row | Skip] = []
        for item in items:
            logits = np.stack([next(chunks).float().numpy() for _ in item.lengths]).astype(np.float64)
            rows.append(self.columns.vote(self, np.average(logits, axis=0, weights=item.lengths)))
        return rows

    def _network(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(rows, samples) or (rows, mels, frames) to logits (rows, labels)."""
        logits: torch.Tensor = self.sound.model(inputs, **self.sound.mask(inputs, lengths)).logits
        return logits
