"""Keep the features on the training device: stored raw once for all members, and standardised per batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mer_pipeline.base.modalities import Features
from mer_pipeline.heads.base import TrainingJob


class DeviceFeatures:
    """The raw features on the device, stored once, which each batch standardises for each of K members."""

    def __init__(self, features: Features, jobs: Sequence[TrainingJob], device: torch.device) -> None:
        scalers = [job.scaler for job in jobs]
        self.x = [torch.from_numpy(x).to(device) for x in features.x]
        self.has_parts = [bool(np.isnan(x).any()) for x in features.x]  # merged modalities that some clips have in part
        self.mask = torch.from_numpy(features.mask).to(device)
        everywhere = features.mask.all(axis=0) & np.all([one.known for one in scalers], axis=0)
        self.is_whole = [bool(here) and not parts for here, parts in zip(everywhere, self.has_parts, strict=True)]
        modalities = range(len(features.x))
        self.mean = [torch.from_numpy(np.stack([s.mean[m] for s in scalers])).to(device) for m in modalities]
        self.inverse = [torch.from_numpy(np.stack([s.inverse[m] for s in scalers])).to(device) for m in modalities]
        self.known = torch.from_numpy(np.stack([s.known for s in scalers])).to(device)

    def batch(self, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the standardised features of some rows for each member, with zeros where `Scaler.apply` has them.

        Args:
            rows: int64 (K, n), indices of rows in the features.

        Returns:
            M tensors, float32 (K, n, D_m).
            The mask, bool (K, n, M).
        """
        mask = self.mask[rows] & self.known[:, None]
        x = []
        for m, (values, mean, inverse) in enumerate(zip(self.x, self.mean, self.inverse, strict=True)):
            drawn = values.index_select(0, rows.flatten()).view(*rows.shape, -1)  # far faster than values[rows]
            scaled = drawn.sub_(mean[:, None]).mul_(inverse[:, None])
            if not self.is_whole[m]:
                absent = ~mask[:, :, m : m + 1]
                scaled.masked_fill_(absent | scaled.isnan() if self.has_parts[m] else absent, 0)
            x.append(scaled)
        return x, mask

    def keep(self, at: list[int]) -> None:
        """Keep only the members at these indices."""
        self.mean, self.inverse = [mean[at] for mean in self.mean], [inverse[at] for inverse in self.inverse]
        self.known = self.known[at]
