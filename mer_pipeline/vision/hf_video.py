"""`hf-video`: encoders of films from Hugging Face: VideoMAE, ViViT or TimeSformer.

Such a model sees a window of pictures at once (VideoMAE 16, ViViT 32, TimeSformer 8), so that its states tell of
motion. The states of a window are averaged over the picture's area. What is left is a vector for each tubelet (two
pictures in VideoMAE and ViViT, one in TimeSformer), and these are averaged over time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.batching import forward_rows
from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import ModelParams, PooledEncoder
from mer_pipeline.base.errors import Skip
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.models.huggingface import (
    Layers,
    check_layers,
    hidden_states,
    load_config,
    load_model,
    load_processor,
    sum_layers,
)
from mer_pipeline.vision.faces import times_of
from mer_pipeline.vision.image_encoder import Picture, Pictures, picture_tensors, try_pictures

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

MODELS = ("videomae", "vivit", "timesformer")

Indices = npt.NDArray[np.int64]


def windows_of(count: int, length: int) -> list[Indices]:
    """Choose the pictures of each window of a clip.

    A clip with fewer pictures than a window repeats each of them about equally often. A clip with more has one window
    after another; the last window ends with the clip, and may begin within the one before.

    Args:
        count: the number of the clip's pictures, at least 1.
        length: the number of pictures in a window.

    Returns:
        For each window the indices of its pictures, (length,), ascending.

    Example:
        >>> [window.tolist() for window in windows_of(3, 4)], [window.tolist() for window in windows_of(9, 4)]
        ([[0, 1, 1, 2]], [[0, 1, 2, 3], [4, 5, 6, 7], [5, 6, 7, 8]])
    """
    if count < length:
        return [((np.arange(length) + 0.5) * count / length).astype(np.int64)]
    starts = [*range(0, count - length, length), count - length]
    return [start + np.arange(length) for start in starts]


def tubelet_of(config: PretrainedConfig) -> int:
    """Return how many pictures a model makes one step of."""
    size = getattr(config, "tubelet_size", 1)  # TimeSformer has none, ViViT's has height and width too
    return int(size if isinstance(size, int) else size[0])


class HfVideoParams(ModelParams):
    """A video model from a Hugging Face folder: VideoMAE, ViViT or TimeSformer. It sees pictures in windows of its own
    length."""

    input: Literal["frames", "faces"]  # the pictures that are read
    layers: Layers = 1  # sum of the last n hidden layers, or of these (0 = embeddings)


class HfVideo(PooledEncoder[Pictures]):
    """An encoder of films by the mean of hidden states over place and time.

    A step is made of the pictures of one tubelet, and its time is the mean of theirs. Steps of the same pictures, which
    come of repeated pictures, are averaged to one. Where the last window overlaps the one before, its steps count that
    have a picture which was not seen before.
    """

    Params = HfVideoParams
    params: HfVideoParams
    uses_torch = True
    batch_rows = 2

    def __init__(self, name: str, params: HfVideoParams) -> None:
        self.folder = resolve(params.checkpoint)
        self.config = load_config(self.folder, MODELS)
        check_layers(params.layers, self.config.num_hidden_layers, self.folder)
        super().__init__(name, params, self.config.hidden_size)

    def key(self) -> Mapping[str, object]:
        """Leave the configuration out of the key, because its file is one of `files`."""
        return {"config": None}

    def files(self) -> Sequence[Path]:
        """The files of the checkpoint that decide its vectors."""
        return value_files(self.folder)

    def setup(self, device: torch.device) -> None:
        """Load the model onto a device, and its image processor.

        Raises:
            CheckpointError: if the files cannot be read, or are not complete.
        """
        import transformers

        self._device = device
        self._model = load_model(transformers.AutoModel, self.folder, device)
        self._processor = load_processor(transformers.AutoImageProcessor.from_pretrained, self.folder)
        still = (-1, self.config.num_frames, -1, -1, -1)
        try_pictures(
            self.folder, self.preprocess, lambda pictures: self._network(pictures[:, None].expand(still)), device
        )

    def preprocess(self, picture: Picture) -> torch.Tensor:
        """Resize, crop and normalise a picture as the checkpoint says: (3, side, side) float32."""
        film = self._processor([picture.copy()], return_tensors="pt", input_data_format="channels_last")
        tensor: torch.Tensor = film["pixel_values"][0, 0]
        return tensor

    def prepare(self, clip: Clip) -> Pictures:
        """Decode and preprocess the pictures of a clip."""
        table = self.params.input
        return Pictures(picture_tensors(clip, table, self.preprocess), times_of(clip, table))

    def infer(self, items: Sequence[Pictures]) -> list[Row | Skip]:
        """Compute the steps of all clips' windows in fixed groups, and average those of each clip."""
        import torch

        chosen = [windows_of(len(item.tensors), self.config.num_frames) for item in items]
        windows = [item.tensors[at] for item, of in zip(items, chosen, strict=True) for at in of]
        states = forward_rows(self._network, [torch.stack(windows)], self.batch_rows, self._device)
        rows: list[Row | Skip] = []
        for item, of in zip(items, chosen, strict=True):
            steps: dict[tuple[int, ...], list[npt.NDArray[np.float32]]] = {}
            seen = -1
            for window in of:
                tubelets = window.reshape(-1, tubelet_of(self.config)).tolist()
                for pictures, state in zip(tubelets, next(states).float().numpy(), strict=True):
                    if pictures[-1] > seen:
                        steps.setdefault(tuple(pictures), []).append(state)
                seen = int(window[-1])
            vectors = np.stack([np.mean(same, axis=0) for same in steps.values()])
            times = np.array([np.mean([item.times[at] for at in pictures]) for pictures in steps])
            rows.append(self.pooled(vectors, times))
        return rows

    def _network(self, windows: torch.Tensor) -> torch.Tensor:
        """Compute the chosen hidden states: (rows, pictures, 3, side, side) to (rows, steps, dim)."""
        output = self._model(pixel_values=windows, output_hidden_states=True)
        states = sum_layers(hidden_states(output), self.params.layers)
        rows, _, dim = states.shape
        steps = self.config.num_frames // tubelet_of(self.config)
        if self.config.model_type == "videomae":  # a token for each place of the first step, then of the second
            return states.reshape(rows, steps, -1, dim).mean(dim=2)
        if self.config.model_type == "vivit":  # the same behind the class token
            return states[:, 1:].reshape(rows, steps, -1, dim).mean(dim=2)
        # TimeSformer: behind the class token a token for each step at the first place, then at the second.
        return states[:, 1:].reshape(rows, -1, steps, dim).mean(dim=1)
