"""The head `concat`, plain early fusion: the modality tokens are concatenated and classified.

h_m = MLP_m(x_m)                          MLP: Dropout → Linear + ReLU to d; zeros where modality m is absent
logits = Linear(MLP([h_1 ... h_M]))
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.layers import Linear, Mlp, Noise
from mer_pipeline.heads.network import Network, NetworkHead, equal_shares


class ConcatNetwork(Network):
    """The network of early fusion; the module has its formulas."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: NetworkParams) -> None:
        super().__init__(dims, classes, params)
        d = params.d
        self.encode = nn.ModuleList(Mlp(dim, d, depth=1) for dim in dims)
        self.join, self.classify = Mlp(d * len(dims), d, depth=1), Linear(d, classes)

    def forward(self, x: list[Tensor], mask: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (K, n, C), and equal modality weights (K, n, M), because the network has none."""
        parts = zip(self.encode, x, strict=True)
        h = torch.stack([encode(matrix, noise) for encode, matrix in parts], dim=2) * mask.unsqueeze(3)
        return self.classify(self.join(h.flatten(2), noise)), equal_shares(mask)


class Concat(NetworkHead):
    """Plain early fusion, trained with AdamW."""

    network_type = ConcatNetwork
    decoupled_decay = True
