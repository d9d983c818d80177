"""`hf-speech`: encoders of sound at 16 kHz with HuBERT, wav2vec 2.0, WavLM, data2vec or Whisper's encoder.

The hidden states are averaged over time, and padding does not enter the average (`sound_model.py`). Whisper's encoder
computes them on its window of 30 s, or on the clip's own length where params.yaml says so (`whisper.py`).
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
from mer_pipeline.speech.fixed_chunks import FixedChunks
from mer_pipeline.speech.sound_model import Chunks, SoundModel
from mer_pipeline.speech.track import Sound
from mer_pipeline.speech.whisper import OwnLength

if TYPE_CHECKING:
    import torch


class HfSpeechParams(ModelParams):
    """HuBERT, wav2vec 2.0, WavLM, data2vec or Whisper's encoder from a Hugging Face folder."""

    input: Literal["audio"]  # the sound track
    layers: Layers = 1  # sum of the last n hidden layers, or of these (0 = embeddings)
    chunk_seconds: Annotated[float, Field(gt=0.1)] = 20.0  # longer clips are cut into chunks
    # equal: chunks of one length, each normalised by itself. fixed: the sound is normalised as a whole and cut every
    # chunk_seconds, as the official baseline does; not for Whisper
    chunks: Literal["equal", "fixed"] = "equal"
    window: Literal["full", "clip"] = "full"  # of Whisper: 30 s filled up with silence, or the clip's own length


class HfSpeech(PooledEncoder[Chunks]):
    """An encoder of sound by the mean, and on request the standard deviation, of hidden states over time."""

    Params = HfSpeechParams
    params: HfSpeechParams
    uses_torch = True

    def __init__(self, name: str, params: HfSpeechParams) -> None:
        self.sound = SoundModel(resolve(params.checkpoint))
        if self.sound.is_whisper and params.window == "clip":
            self.sound = OwnLength(self.sound.folder)
        if not self.sound.is_whisper and params.chunks == "fixed":
            self.sound = FixedChunks(self.sound.folder)
        config = self.sound.config
        layers = config.encoder_layers if self.sound.is_whisper else config.num_hidden_layers
        check_layers(params.layers, layers, self.sound.folder)
        self.batch_rows = self.sound.batch_rows
        super().__init__(name, params, config.d_model if self.sound.is_whisper else config.hidden_size)

    def key(self) -> Mapping[str, object]:
        """Leave the configuration out of the key, because its file is one of `files`."""
        return {"sound.config": None}

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint that decide its vectors."""
        return value_files(self.sound.folder)

    def setup(self, device: torch.device) -> None:
        """Load the model onto a device, and its feature extractor.

        Raises:
            CheckpointError: if the files cannot be read, or are not complete.
        """
        import transformers

        model = load_model(transformers.AutoModel, self.sound.folder, device)
        self.sound.use(model.get_encoder() if self.sound.is_whisper else model, device)

    def prepare(self, clip: Clip) -> Chunks:
        """Cut the sound into chunks and normalise it as the checkpoint says.

        Raises:
            Skip: if the clip has no sound, or less than the model needs.
        """
        return self.sound.chunks(Sound.of(clip.need("audio")).samples, self.params.chunk_seconds)

    def bucket(self, item: Chunks) -> int:
        """Return the padded length in samples; for Whisper it is always 0."""
        return self.sound.bucket(item)

    def infer(self, items: Sequence[Chunks]) -> list[Row | Skip]:
        """Compute hidden states for the chunks of all clips, in fixed groups, and average those of each clip."""
        steps = self.sound.forward(self._network, items, self.batch_rows)
        rows: list[Row | Skip] = []
        for item in items:
            valid = [next(steps)[: self.sound.steps(length)].float().numpy() for length in item.lengths]
            rows.append(self.pooled(np.concatenate(valid)))
        return rows

    def _network(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Compute the chosen hidden states: (rows, samples) or (rows, mels, frames) to (rows, steps, dim)."""
        mask = self.sound.mask(inputs, lengths)
        output = self.sound.model(inputs, output_hidden_states=True, **mask)
        return sum_layers(hidden_states(output), self.params.layers)
