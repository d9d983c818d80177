"""What judges of pictures share: decode and preprocess in threads, one network over the pictures of many clips."""

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
    """Frames or face crops to logits per picture, and their mean. An item is (pictures, 3, side, side) float32.

    Logits are averaged, not probabilities: a softmax of mean logits is the geometric mean of the pictures' own
    distributions. A picture that says nothing (a blur, a turned head: flat logits) then leaves the order and the
    ratios that the others give, where a mean of probabilities would be pulled towards chance. And it is a mean, not
    a sum: pictures of one clip are looks at the same moment and no independent evidence.
    """

    uses_torch = True
    batch_rows = 16

    @abstractmethod
    def preprocess(self, picture: Picture) -> torch.Tensor:
        """(height, width, 3) uint8 to (3, side, side) float32."""

    @abstractmethod
    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        """(rows, 3, side, side) to logits (rows, labels)."""

    @abstractmethod
    def decide(self, logits: npt.NDArray[np.float64]) -> Row | Skip:
        """A row from a clip's mean logits (labels,)."""

    def prepare(self, clip: Clip) -> torch.Tensor:
        """Decode and preprocess."""
        return picture_tensors(clip, self.params.input, self.preprocess)

    def infer(self, items: Sequence[torch.Tensor]) -> list[Row | Skip]:
        """Logits of every picture, in fixed groups across clips; then each clip's mean."""
        by_clip = rows_by_clip(self.network, items, self.batch_rows, self._device)
        return [self.decide(logits.mean(axis=0, dtype=np.float64)) for logits in by_clip]

    def setup(self, device: torch.device) -> None:
        """Note the device; subclasses load their model."""
        self._device = device
