"""`hf-speech`: HuBERT, wav2vec 2.0, WavLM, data2vec and Whisper encoders on 16 kHz sound.

The vectors over time are averaged without padding. Models whose feature extractor normalises over the whole
input (group norm; they take no attention mask) would see the padding in every frame, so they are given exact
lengths, one at a time; the others get a mask and a padded length that the clip itself decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mer_pipeline.batching import forward_rows
from mer_pipeline.clips import Clip, Row
from mer_pipeline.encoder import Encoder
from mer_pipeline.errors import Skip
from mer_pipeline.media.decode import SAMPLE_RATE
from mer_pipeline.models.checkpoint import resolve
from mer_pipeline.models.huggingface import check_layers, load_config, load_model, sum_layers
from mer_pipeline.params import EncoderParams
from mer_pipeline.speech.track import Samples, Sound

if TYPE_CHECKING:
    import torch

MODELS = ("hubert", "wav2vec2", "wavlm", "data2vec-audio", "whisper")
STEP = SAMPLE_RATE // 2  # padded lengths are multiples of this
WHISPER_SECONDS = 30
WHISPER_HOP = 320  # samples per encoder step


@dataclass(frozen=True)
class Chunks:
    """A clip as equal chunks.

    Attributes:
        inputs: (chunks, ...) float32: samples, or Whisper's log-mel.
        lengths: valid samples of each.
    """

    inputs: torch.Tensor
    lengths: list[int]


class HfSpeech(Encoder[Chunks]):
    """Sound to the mean (and deviation) of hidden states over time."""

    uses_torch = True

    def __init__(self, name: str, params: EncoderParams) -> None:
        assert params.checkpoint is not None
        self.folder = resolve(params.checkpoint)
        self.config = load_config(self.folder, MODELS)
        self.is_whisper = self.config.model_type == "whisper"
        layers = self.config.encoder_layers if self.is_whisper else self.config.num_hidden_layers
        check_layers(params.layers, layers, self.folder)
        self.exact_length = not self.is_whisper and getattr(self.config, "feat_extract_norm", "layer") == "group"
        self.rows = 1 if self.exact_length else 4
        super().__init__(name, params, self.config.d_model if self.is_whisper else self.config.hidden_size)

    def setup(self, device: torch.device) -> None:
        """Load the model and its feature extractor."""
        import transformers

        self._device = device
        model = load_model(transformers.AutoModel, self.folder, device)
        self._model = model.get_encoder() if self.is_whisper else model
        self._extractor = transformers.AutoFeatureExtractor.from_pretrained(self.folder, local_files_only=True)

    def prepare(self, clip: Clip) -> Chunks:
        """Cut into chunks and normalise each as the checkpoint wants it."""
        import torch

        samples = Sound.of(clip.need("audio")).samples
        limit = min(self.params.chunk_seconds, WHISPER_SECONDS if self.is_whisper else np.inf)
        pieces = np.array_split(samples, int(np.ceil(len(samples) / (limit * SAMPLE_RATE))))
        if min(self._steps(len(piece)) for piece in pieces) < 1:
            raise Skip("too short for the model")
        features = [torch.from_numpy(self._extract(piece)) for piece in pieces]
        if not self.is_whisper:
            length = self._padded(max(map(len, pieces)))
            features = [torch.nn.functional.pad(f, (0, length - len(f))) for f in features]
        return Chunks(torch.stack(features), [len(piece) for piece in pieces])

    def _extract(self, samples: Samples) -> Samples:
        key = "input_features" if self.is_whisper else "input_values"
        out: Samples = self._extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="np")[key][0]
        return out.astype(np.float32)

    def _padded(self, length: int) -> int:
        return length if self.exact_length else -(-length // STEP) * STEP

    def bucket(self, item: Chunks) -> int:
        """The padded length in samples; for Whisper always the same."""
        return 0 if self.is_whisper else int(item.inputs.shape[1])

    def infer(self, items: Sequence[Chunks]) -> list[Row | Skip]:
        """Hidden states of all clips' chunks in fixed groups; then each clip's own steps are pooled."""
        import torch

        inputs = torch.cat([item.inputs for item in items])
        lengths = torch.tensor([length for item in items for length in item.lengths])
        # Chunks of one clip may differ by a sample in exact length; padding them would enter a group norm.
        states = (
            (
                state
                for chunk, n in zip(inputs, lengths, strict=True)
                for state in forward_rows(self._network, [chunk[None, :n], n[None]], self.rows, self._device)
            )
            if self.exact_length
            else forward_rows(self._network, [inputs, lengths], self.rows, self._device)
        )
        rows: list[Row | Skip] = []
        steps = iter(states)
        for item in items:
            valid = [next(steps)[: self._steps(length)].float().numpy() for length in item.lengths]
            rows.append(self.pooled(np.concatenate(valid)))
        return rows

    def _network(self, inputs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(rows, samples) or (rows, mels, frames) to (rows, steps, dim)."""
        import torch

        options = {}
        if not self.is_whisper and not self.exact_length:
            options["attention_mask"] = (torch.arange(inputs.shape[1], device=self._device) < lengths[:, None]).long()
        states = self._model(inputs, output_hidden_states=True, **options).hidden_states
        return sum_layers(states, self.params.layers)

    def _steps(self, length: int) -> int:
        """Encoder steps that a number of samples fills."""
        if self.is_whisper:
            return max(1, -(-length // WHISPER_HOP))
        return int(self._model._get_feat_extract_output_lengths(length))
