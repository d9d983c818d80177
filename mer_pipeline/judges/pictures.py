"""The base of judges that look at pictures: one network runs over the pictures of many clips together."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.judges.judge import Judge
from mer_pipeline.vision.image_encoder import Picture, picture_tensors, rows_by_clip

if TYPE_CHECKING:
    import torch


class PictureJudge(Judge["torch.Tensor"]):
    """Vote by the mean of the logits of a clip's frames or face crops.

    An item is a float32 tensor (pictures, 3, side, side).

    Logits are averaged and not probabilities, because the softmax of the mean logits is proportional to the geometric
    mean of the pictures' distributions. A picture with equal logits, such as a blur or a turned head, then leaves the
    order of the classes unchanged, while it would pull a mean of probabilities towards chance. The logits are averaged
    and not summed, because the pictures of one clip show nearly the same and are no independent evidence.
    """

    uses_torch = True
    batch_rows = 16

    @abstractmethod
    def preprocess(self, picture: Picture) -> torch.Tensor:
        """Return a picture (height, width, 3), uint8, as the network's input (3, side, side), float32."""

    @abstractmethod
    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits (rows, labels) for pictures (rows, 3, side, side)."""

    @abstractmethod
    def decide(self, logits: npt.NDArray[np.float64]) -> Row | Skip:
        """Return the row for a clip's mean logits (labels,)."""

    def prepare(self, clip: Clip) -> torch.Tensor:
        """Decode and preprocess the pictures of a clip."""
        return picture_tensors(clip, self.params.input, self.preprocess)

    def infer(self, items: Sequence[torch.Tensor]) -> list[Row | Skip]:
        """Compute the logits of all clips' pictures in batches of fixed size, and average those of each clip."""
        by_clip = rows_by_clip(self.network, items, self.batch_rows, self._device)
        return [self.decide(logits.mean(axis=0, dtype=np.float64)) for logits in by_clip]

    def setup(self, device: torch.device) -> None:
        """Keep the device for `infer`. Subclasses also load their model here."""
        self._device = device
