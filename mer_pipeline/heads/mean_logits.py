"""The head `mean_logits`, the simplest late fusion: one classifier per modality, and the mean of their logits.

    logits = mean over present m of Linear_m(MLP_m(x_m))      MLP: Dropout → Linear + ReLU to d

The classifiers are trained jointly, on the loss of their mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.layers import Linear, Mlp, Noise, drop
from mer_pipeline.heads.network import Network, NetworkHead, equal_shares


class MeanLogitsNetwork(Network):
    """The network of this late fusion; the module has its formula."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: NetworkParams) -> None:
        super().__init__(dims, classes, params)
        d = params.d
        self.encode = nn.ModuleList(Mlp(dim, d, depth=1) for dim in dims)
        self.classify = nn.ModuleList(Linear(d, classes) for _ in dims)

    def forward(self, x: list[Tensor], mask: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (K, n, C), and the equal modality weights (K, n, M) of the mean."""
        parts = zip(self.classify, self.encode, x, strict=True)
        said = [classify(drop(encode(matrix, noise), noise)) for classify, encode, matrix in parts]
        shares = equal_shares(mask)
        return (torch.stack(said, dim=2) * shares.unsqueeze(3)).sum(dim=2), shares


class MeanLogits(NetworkHead):
    """The mean of the modalities' logits, trained with AdamW."""

    network_type = MeanLogitsNetwork
    decoupled_decay = True
