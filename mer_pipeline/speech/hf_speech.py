"""`hf-speech`: HuBERT, wav2vec 2.0, WavLM, data2vec and Whisper encoders on 16 kHz sound.

The vectors over time are averaged without padding (`sound_model.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import ModelParams, PooledEncoder
from mer_pipeline.base.errors import Skip
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.models.huggingface import Layers, check_layers, hidden_states, load_model, sum_layers
from mer_pipeline.speech.sound_model import Chunks, SoundModel
from mer_pipeline.speech.track import Sound

if TYPE_CHECKING:
    import torch


class HfSpeechParams(ModelParams):
    """HuBERT, wav2vec 2.0, WavLM, data2vec, Whisper's encoder, from a Hugging Face folder."""

    input: Literal["audio"]  # the sound track
    layers: Layers = 1  # sum of the last n hidden layers, or of these (0 = embeddings)
    chunk_seconds: Annotated[float, Field(gt=0.1)] = 20.0  # longer clips are cut into equal chunks


class HfSpeech(PooledEncoder[Chunks]):
    """Sound to the mean (and deviation) of hidden states over time."""

    Params = HfSpeechParams
    params: HfSpeechParams
    uses_torch = True

    def __init__(self, name: str, params: HfSpeechParams) -> None:
        self.sound = SoundModel(resolve(params.checkpoint))
        config = self.sound.config
        layers = config.encoder_layers if self.sound.is_whisper else config.num_hidden_layers
        check_layers(params.layers, layers, self.sound.folder)
        self.batch_rows = self.sound.batch_rows
        super().__init__(name, params, config.d_model if self.sound.is_whisper else config.hidden_size)

    def key(self) -> Mapping[str, object]:
        """Nothing beyond `files`: the configuration is one of them."""
        return {"sound.config": None}

    def files(self) -> Sequence[Path]:
        """The checkpoint's."""
        return value_files(self.sound.folder)

    def setup(self, device: torch.device) -> None:
        """Load the model and its feature extractor."""
        import transformers

        model = load_model(transformers.AutoModel, self.sound.folder, device)
        self.sound.use(model.get_encoder() if self.sound.is_whisper else model, device)

    def prepare(self, clip: Clip) -> Chunks:
        """Cut into chunks and normalise each as the checkpoint wants it."""
        return self.sound.chunks(Sound.of(clip.need("audio")).samples, self.params.chunk_seconds)

    def bucket(self, item: Chunks) -> int:
        """The padded length in samples."""
        return self.sound.bucket(item)

    def infer(self, items: Sequence[Chunks]) -> list[Row | Skip]:
        """Hidden states of all clips' chunks in fixed groups; then each clip's own steps are pooled."""
        steps = self.sound.forward(self._network, items, self.batch_rows)
        rows: list[Row | Skip] = []
        for item in items:
            valid = [next(steps)[: self.sound.steps(length)].float().numpy() for length in item.lengths]
            rows.append(self.pooled(np.concatenate(valid)))
        return rows

    def _network(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(rows, samples) or (rows, mels, frames) to (rows, steps, dim)."""
        mask = self.sound.mask(inputs, lengths)
        output = self.sound.model(inputs, output_hidden_states=True, **mask)
        return sum_layers(hidden_states(output), self.params.layers)
