"""Whisper's encoder on the clip's own length, instead of a window of 30 s that is filled up with silence.

The encoder takes no mask: in its usual window every step of a short clip also attends to the silence behind it. Here
the log-mel is as long as the clip, rounded up to whole encoder steps of 20 ms, and as many position embeddings are
used. That costs a tenth of the time or less. Clips are given one at a time, so that no clip sees the padding of
another. benchmarks/pretrained.md compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mer_pipeline.base.batching import forward_rows
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.speech.sound_model import WHISPER_HOP, WHISPER_SECONDS, Chunks, SoundModel
from mer_pipeline.speech.track import Samples

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import BaseModelOutput

FRAMES_PER_STEP = 2  # the second convolution takes every other frame of the log-mel


class OwnLength(SoundModel):
    """Whisper's encoder for log-mels of any length up to 30 s.

    Args:
        folder: the folder of a Whisper checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.exact_length, self.batch_rows = True, 1

    def use(self, model: PreTrainedModel, device: torch.device) -> None:
        """Take Whisper's encoder, and load the checkpoint's feature extractor.

        Raises:
            CheckpointError: as `SoundModel.use`.
        """
        super().use(model, device)
        self.encoder = model
        self.model = self._encode  # it is called as the model would be

    def chunks(self, samples: Samples, seconds: float) -> Chunks:
        """Cut a sound into equal chunks and compute the log-mel of each.

        Args:
            samples: (samples,) float32 at 16 kHz.
            seconds: the greatest length of a chunk; at most 30 are used.

        Returns:
            Log-mels, (chunks, mels, frames) with two frames to a step. A chunk that is one step shorter than another
            has zeros in the last two frames, which `forward` does not use.
        """
        import torch

        limit = int(min(seconds, WHISPER_SECONDS) * SAMPLE_RATE)
        pieces = np.array_split(samples, -(-len(samples) // limit))
        features = [torch.from_numpy(self._own(piece)) for piece in pieces]
        longest = max(mel.shape[1] for mel in features)
        padded = [torch.nn.functional.pad(mel, (0, longest - mel.shape[1])) for mel in features]
        return Chunks(torch.stack(padded), [len(piece) for piece in pieces])

    def _own(self, samples: Samples) -> Samples:
        """The log-mel of some samples, (mels, 2 · steps)."""
        made = self._extractor(
            samples, sampling_rate=SAMPLE_RATE, return_tensors="np", padding="longest", pad_to_multiple_of=WHISPER_HOP
        )
        mel: Samples = made["input_features"][0]
        return mel.astype(np.float32)

    def bucket(self, item: Chunks) -> int:
        """Return 0: every chunk is a batch of its own."""
        del item
        return 0

    def forward(
        self, network: Callable[..., torch.Tensor], items: Sequence[Chunks], rows: int
    ) -> Iterator[torch.Tensor]:
        """Run a network on the chunks of many clips, one at a time, each in its own length.

        Args:
            network: takes inputs, (1, mels, frames), and lengths in samples, (1,), and returns (1, ...).
            items: the chunks of clips.
            rows: 1.

        Yields:
            The result for each chunk, on the CPU, in their order.
        """
        import torch

        for item in items:
            for mel, length in zip(item.inputs, item.lengths, strict=True):
                own = mel[None, :, : FRAMES_PER_STEP * self.steps(length)]
                yield from forward_rows(network, [own, torch.tensor([length])], rows, self.device)

    def _encode(self, inputs: torch.Tensor, output_hidden_states: bool = True) -> BaseModelOutput:
        """What `WhisperEncoder.forward` of transformers computes, which refuses every length but 30 s."""
        import torch
        from transformers.modeling_outputs import BaseModelOutput

        encoder, gelu = self.encoder, torch.nn.functional.gelu
        hidden = gelu(encoder.conv2(gelu(encoder.conv1(inputs)))).permute(0, 2, 1)
        states = [hidden + encoder.embed_positions.weight[: hidden.shape[1]]]
        for layer in encoder.layers:
            states.append(layer(states[-1], None))
        last = encoder.layer_norm(states[-1])
        return BaseModelOutput(last_hidden_state=last, hidden_states=tuple(states) if output_hidden_states else None)
