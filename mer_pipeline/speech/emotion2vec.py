"""`emotion2vec`: an encoder of sound at 16 kHz that was trained on emotional speech (Ma et al., 2023).

The checkpoints are those of FunASR: emotion2vec_base, and emotion2vec_plus_seed, _base and _large. The network is
restated in `emotion2vec_net.py`, because the package funasr brings dozens of others. Each chunk is computed alone in
its exact length, so that nothing is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import ModelParams, PooledEncoder
from mer_pipeline.base.errors import CheckpointError, Skip
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.models.checkpoint import WEIGHTS, loading, resolve, value_files
from mer_pipeline.models.huggingface import Layers, check_layers, sum_layers
from mer_pipeline.speech.emotion2vec_net import Network, Shape
from mer_pipeline.speech.sound_model import receptive_field, step_times
from mer_pipeline.speech.track import Samples, Sound

if TYPE_CHECKING:
    import torch


class Emotion2vecParams(ModelParams):
    """emotion2vec or emotion2vec+, in the layout of FunASR."""

    input: Literal["audio"]  # the sound track
    layers: Layers = 1  # sum of the last n blocks, or of these (0 = the context encoder)
    chunk_seconds: Annotated[float, Field(gt=0.1)] = 20.0  # longer clips are cut into equal chunks


class Emotion2vec(PooledEncoder[list[Samples]]):
    """An encoder of sound by the mean of emotion2vec's steps of 20 ms. An item is a clip's chunks, (samples,) each."""

    Params = Emotion2vecParams
    params: Emotion2vecParams
    uses_torch = True

    def __init__(self, name: str, params: Emotion2vecParams) -> None:
        self.folder = resolve(params.checkpoint)
        self.shape = Shape.read(self.folder)
        check_layers(params.layers, self.shape.blocks, self.folder)
        super().__init__(name, params, self.shape.dim)

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint that decide its vectors."""
        return value_files(self.folder)

    def setup(self, device: torch.device) -> None:
        """Load the network onto a device, and try a second of silence on it.

        Raises:
            CheckpointError: if the files cannot be read, are not complete, or do not fit.
        """
        import torch
        from safetensors.torch import load_file

        self._device = device
        with loading(self.folder, "its weights cannot be loaded"):
            state = {
                name: value for file in sorted(self.folder.glob(WEIGHTS)) for name, value in load_file(file).items()
            }
        for name, value in state.items():
            if not bool(value.sum().isfinite()):
                raise CheckpointError(
                    f"{self.folder}: the weight {name} has values that are no numbers; download it again"
                )
        self._network = Network(self.folder, self.shape, state).to(device)
        with loading(self.folder, "its weights do not fit its config.json"), torch.inference_mode():
            self._network(torch.zeros(1, SAMPLE_RATE, device=device))

    def prepare(self, clip: Clip) -> list[Samples]:
        """Cut the sound into equal chunks.

        Raises:
            Skip: if the clip has no sound, or less than the model needs.
        """
        samples = Sound.of(clip.need("audio")).samples
        chunks = np.array_split(samples, int(np.ceil(len(samples) / (self.params.chunk_seconds * SAMPLE_RATE))))
        if min(self.shape.steps(len(chunk)) for chunk in chunks) < 1:
            raise Skip("too short for the model")
        return chunks

    def infer(self, items: Sequence[list[Samples]]) -> list[Row | Skip]:
        """Compute the steps of each chunk, one after the other, and average those of each clip."""
        import torch

        kernels = [kernel for _, kernel, _ in self.shape.convolutions]
        hop, span = receptive_field(kernels, [stride for _, _, stride in self.shape.convolutions])
        rows: list[Row | Skip] = []
        for chunks in items:
            parts = []
            for chunk in chunks:
                with torch.inference_mode():
                    states = self._network(torch.from_numpy(chunk)[None].to(self._device))
                parts.append(sum_layers(tuple(states), self.params.layers)[0].cpu().numpy())
            lengths = [len(chunk) for chunk in chunks]
            times = step_times(lengths, [len(part) for part in parts], hop, span)
            rows.append(self.pooled(np.concatenate(parts), times))
        return rows
