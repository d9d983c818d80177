"""A speech checkpoint and how it takes its sound: chunks, normalisation, padded length, mask.

Models that see the padding whatever the mask says are given exact lengths, one at a time: those whose feature
extractor normalises over the whole input (group norm), and data2vec, whose position embedding is several convolutions
with normalisations between them, so that the first makes something of the padding and the next reads it. The others
get a mask and a padded length that the clip itself decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mer_pipeline.base.batching import forward_rows
from mer_pipeline.base.errors import Skip
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.models.huggingface import load_config
from mer_pipeline.speech.track import Samples

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

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


class SoundModel:
    """What a checkpoint's configuration says of its input.

    Attributes:
        folder, config: of the checkpoint.
        is_whisper: it takes log-mel of 30 s instead of samples.
        exact_length: it takes one chunk at a time, without padding.
        rows: the fixed number of rows of a batch.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = load_config(folder, MODELS)
        self.is_whisper = self.config.model_type == "whisper"
        group_norm = getattr(self.config, "feat_extract_norm", "layer") == "group"
        self.exact_length = not self.is_whisper and (group_norm or self.config.model_type == "data2vec-audio")
        self.batch_rows = 1 if self.exact_length else 4

    def use(self, model: PreTrainedModel, device: torch.device) -> None:
        """Take a loaded model, and load the checkpoint's feature extractor."""
        import transformers

        self.model, self._device = model, device
        self._extractor = transformers.AutoFeatureExtractor.from_pretrained(self.folder, local_files_only=True)

    def chunks(self, samples: Samples, seconds: float) -> Chunks:
        """Cut into equal chunks of at most `seconds` and normalise each as the checkpoint wants it.

        Raises:
            Skip: too short for the model.
        """
        import torch

        limit = min(seconds, WHISPER_SECONDS if self.is_whisper else np.inf)
        pieces = np.array_split(samples, int(np.ceil(len(samples) / (limit * SAMPLE_RATE))))
        if min(self.steps(len(piece)) for piece in pieces) < 1:
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

    def forward(
        self, network: Callable[..., torch.Tensor], items: Sequence[Chunks], rows: int
    ) -> Iterator[torch.Tensor]:
        """All clips' chunks through a network, in fixed groups.

        Args:
            network: takes inputs (rows, ...) and lengths in samples (rows,), and gives (rows, ...).
            items: of one bucket.
            rows: in a group.

        Yields:
            Each chunk's result, on the CPU, in order.
        """
        import torch

        inputs = torch.cat([item.inputs for item in items])
        lengths = torch.tensor([length for item in items for length in item.lengths])
        if not self.exact_length:
            yield from forward_rows(network, [inputs, lengths], rows, self._device)
            return
        # Chunks of one clip may differ by a sample in exact length; padding them would enter a group norm.
        for chunk, n in zip(inputs, lengths, strict=True):
            yield from forward_rows(network, [chunk[None, :n], n[None]], rows, self._device)

    def mask(self, inputs: torch.Tensor, lengths: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """The attention mask as a keyword of the model's call; none where it takes none."""
        import torch

        if self.is_whisper or self.exact_length:
            return {}
        return {"attention_mask": (torch.arange(inputs.shape[1], device=self._device) < lengths[:, None]).long()}

    def steps(self, length: int) -> int:
        """Encoder steps that a number of samples fills."""
        if self.is_whisper:
            return max(1, -(-length // WHISPER_HOP))
        return int(self.model._get_feat_extract_output_lengths(length))
