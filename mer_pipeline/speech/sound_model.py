"""How the sound of a clip becomes the input of a speech model: chunks, normalisation, padded length, mask.

Some models give other results with padding, in spite of a mask. They are given one chunk at a time, in its exact
length. These are models whose feature extractor normalises over the whole input (group norm), and data2vec. The
position embedding of data2vec is several convolutions with normalisations between them: the first convolution writes
values into the padding, and the next one reads them. All other models get a mask, and a padded length that depends on
the clip alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.batching import forward_rows
from mer_pipeline.base.errors import CheckpointError, Skip
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.models.checkpoint import loading
from mer_pipeline.models.huggingface import load_config, load_processor
from mer_pipeline.speech.track import Samples

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Times = npt.NDArray[np.float64]

MODELS = ("hubert", "wav2vec2", "wavlm", "data2vec-audio", "whisper")
STEP = SAMPLE_RATE // 2  # padded lengths are multiples of this, in samples
WHISPER_SECONDS = 30  # Whisper's input always has this length
WHISPER_HOP = 320  # samples per encoder step


@dataclass(frozen=True)
class Chunks:
    """The sound of one clip, cut into chunks of equal length (they may differ by one sample).

    Attributes:
        inputs: (chunks, samples) float32, padded with zeros at the end; for Whisper its log-mel, (chunks, mels,
            frames).
        lengths: for each chunk the number of samples without the padding.
    """

    inputs: torch.Tensor
    lengths: list[int]


class SoundModel:
    """A speech model, with what its configuration says about its input.

    Attributes:
        folder: the folder of the checkpoint.
        config: the configuration in that folder.
        is_whisper: whether the model takes the log-mel of 30 s instead of samples.
        exact_length: whether the model takes one chunk at a time, without padding.
        batch_rows: the fixed number of rows of a batch on a GPU.
        model, device: the loaded model, and where it is; set by `use`.

    Args:
        folder: the folder of the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = load_config(folder, MODELS)
        self.is_whisper = self.config.model_type == "whisper"
        self.exact_length = not self.is_whisper and (
            self.config.model_type == "data2vec-audio" or getattr(self.config, "feat_extract_norm", "layer") == "group"
        )
        self.batch_rows = 1 if self.exact_length else 4

    def use(self, model: PreTrainedModel, device: torch.device) -> None:
        """Take a loaded model, and load the checkpoint's feature extractor.

        Raises:
            CheckpointError: there is none, it wants another sampling rate, or it makes what the model does not take.
        """
        import transformers

        self.model, self.device = model, device
        self._extractor = load_processor(transformers.AutoFeatureExtractor.from_pretrained, self.folder)
        rate = getattr(self._extractor, "sampling_rate", None)
        if rate != SAMPLE_RATE:
            raise CheckpointError(
                f"{self.folder} is for sound at {rate} Hz, and clips have {SAMPLE_RATE} Hz here; take a checkpoint "
                f"for {SAMPLE_RATE} Hz, or the preprocessor_config.json of this one"
            )
        with loading(self.folder, "its feature extractor does not fit the model"):
            made = self._extract(np.zeros(SAMPLE_RATE, np.float32)).shape
        taken = (self.config.num_mel_bins, 2 * self.config.max_source_positions) if self.is_whisper else (SAMPLE_RATE,)
        if made != taken:
            raise CheckpointError(
                f"{self.folder}: its feature extractor makes {made} of a second of sound, and the model takes {taken}; "
                "is preprocessor_config.json of the same checkpoint?"
            )

    def chunks(self, samples: Samples, seconds: float) -> Chunks:
        """Cut a sound into equal chunks and normalise each as the checkpoint says.

        Args:
            samples: (samples,) float32 at 16 kHz.
            seconds: the greatest length of a chunk.

        Raises:
            Skip: if a chunk is shorter than the model needs for one step.
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
        """Return the padded length in samples; for Whisper always 0, because all lengths are the same."""
        return 0 if self.is_whisper else int(item.inputs.shape[1])

    def forward(
        self, network: Callable[..., torch.Tensor], items: Sequence[Chunks], rows: int
    ) -> Iterator[torch.Tensor]:
        """Run a network on the chunks of many clips, in groups of a fixed number of rows.

        Args:
            network: takes inputs, (rows, ...), and lengths in samples, (rows,), and returns (rows, ...).
            items: the chunks of clips of one bucket.
            rows: the number of rows in a group.

        Yields:
            The result for each chunk, on the CPU, in their order.
        """
        import torch

        inputs = torch.cat([item.inputs for item in items])
        lengths = torch.tensor([length for item in items for length in item.lengths])
        if not self.exact_length:
            yield from forward_rows(network, [inputs, lengths], rows, self.device)
            return
        # Chunks of one clip may differ by one sample in length, and the padding would enter the group norm.
        for chunk, n in zip(inputs, lengths, strict=True):
            yield from forward_rows(network, [chunk[None, :n], n[None]], rows, self.device)

    def mask(self, inputs: torch.Tensor, lengths: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return the attention mask as a keyword argument for the model, or nothing if the model takes none.

        Args:
            inputs: (rows, samples) float32.
            lengths: (rows,), the number of samples without the padding.
        """
        import torch

        if self.is_whisper or self.exact_length:
            return {}
        return {"attention_mask": (torch.arange(inputs.shape[1], device=self.device) < lengths[:, None]).long()}

    def steps(self, length: int) -> int:
        """Return the number of steps that the model makes of a number of samples."""
        if self.is_whisper:
            return max(1, -(-length // WHISPER_HOP))
        return int(self.model._get_feat_extract_output_lengths(length))


def times_of(sound: SoundModel, lengths: Sequence[int]) -> Times:
    """Return when each step of a clip is, as `step_times`. Whisper's log-mel frames are centred: its first is at 0 s.

    Args:
        sound: the model.
        lengths: the number of samples of each chunk of the clip, in their order.
    """
    counts = [sound.steps(length) for length in lengths]
    if sound.is_whisper:
        return step_times(lengths, counts, WHISPER_HOP, 0)
    return step_times(lengths, counts, *receptive_field(sound.config.conv_kernel, sound.config.conv_stride))


def step_times(lengths: Sequence[int], counts: Sequence[int], hop: int, span: int) -> Times:
    """Return when each step of a clip is: the middle of the samples that the convolutions make the step of.

    Args:
        lengths: the number of samples of each chunk of the clip, in their order.
        counts: the number of steps of each.
        hop: samples from one step to the next.
        span: samples that a step is made of.

    Returns:
        (steps,) float64, in seconds since the clip's start, ascending.

    Example:
        The first step of wav2vec 2.0 and its kin is made of samples 0 to 399:

        >>> step_times([720], [2], 320, 400).tolist()
        [0.0125, 0.0325]
    """
    starts = np.cumsum([0, *lengths[:-1]])
    chunks = [start + hop * np.arange(count) for start, count in zip(starts, counts, strict=True)]
    times: Times = (np.concatenate(chunks) + span / 2) / SAMPLE_RATE
    return times


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Return how many samples lie between two steps, and of how many one step is made, by a stack of convolutions.

    Example:
        >>> receptive_field((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
        (320, 400)
    """
    hop, span = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        span += (kernel - 1) * hop
        hop *= stride
    return hop, span
