"""The official baseline's fusion ("attention" in zeroQiaoba/MERTools), to compare with in the same harness.

    h_m   = MLP_m(x_m)                        MLP: Dropout → 3 × (Linear + ReLU) to d
    w     = Linear(MLP([h_1 ... h_M]))        one weight per modality, not softmaxed
    fused = Σ w_m h_m;  logits = Linear(fused)

The official code feeds zeros for what is absent and weighs it like the rest. Here its input is zeros too, but
its weight and its place in the concatenation are zero as well: absent is not zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.layers import Linear, Mlp, Noise
from mer_pipeline.heads.network import Network, NetworkHead


class MertoolsNetwork(Network):
    """See the module's formulas."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: NetworkParams) -> None:
        super().__init__(dims, classes, params)
        d = params.d
        self.encode = nn.ModuleList(Mlp(dim, d, depth=3) for dim in dims)
        self.attend = Mlp(d * len(dims), d, depth=3)
        self.weigh = Linear(d, len(dims))
        self.classify = Linear(d, classes)

    def forward(self, x: list[Tensor], mask: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Logits (K, n, C) and w (K, n, M)."""
        parts = zip(self.encode, x, strict=True)
        h = torch.stack([encode(matrix, noise) for encode, matrix in parts], dim=2) * mask.unsqueeze(3)
        w = self.weigh(self.attend(h.flatten(2), noise)) * mask
        return self.classify((w.unsqueeze(3) * h).sum(dim=2)), w


class Mertools(NetworkHead):
    """The official baseline, trained with Adam as there."""

    network_type = MertoolsNetwork
    decoupled_decay = False
