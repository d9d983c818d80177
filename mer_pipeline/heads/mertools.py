"""The head `mertools`: the fusion of the official baseline ("attention" in zeroQiaoba/MERTools), for comparison.

    h_m   = MLP_m(x_m)                        MLP: Dropout → 3 × (Linear + ReLU) to d
    w     = Linear(MLP([h_1 ... h_M]))        one weight per modality, not softmaxed
    fused = Σ w_m h_m;  logits = Linear(fused)

The official code replaces an absent modality by zeros and weighs it like the others. Here its input is zero too, but
its token in the concatenation and its weight are set to zero as well, so an absent modality adds nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.layers import Linear, Mlp, Noise
from mer_pipeline.heads.network import Network, NetworkHead


class MertoolsNetwork(Network):
    """The network of the baseline; the module has its formulas."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: NetworkParams) -> None:
        super().__init__(dims, classes, params)
        d = params.d
        self.encode = nn.ModuleList(Mlp(dim, d, depth=3) for dim in dims)
        self.attend = Mlp(d * len(dims), d, depth=3)
        self.weigh = Linear(d, len(dims))
        self.classify = Linear(d, classes)

    def forward(self, x: list[Tensor], mask: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (K, n, C) and the modality weights w (K, n, M)."""
        parts = zip(self.encode, x, strict=True)
        h = torch.stack([encode(matrix, noise) for encode, matrix in parts], dim=2) * mask.unsqueeze(3)
        w = self.weigh(self.attend(h.flatten(2), noise)) * mask
        return self.classify((w.unsqueeze(3) * h).sum(dim=2)), w


class Mertools(NetworkHead):
    """The official baseline, trained with Adam as in the official code."""

    network_type = MertoolsNetwork
    decoupled_decay = False
