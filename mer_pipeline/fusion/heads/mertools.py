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

from mer_pipeline.fusion.heads.network import NetworkHead
from mer_pipeline.params import TrainParams


def _mlp(inputs: int, d: int, dropout: float) -> nn.Sequential:
    layers = [nn.Linear(inputs, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU()]
    return nn.Sequential(nn.Dropout(dropout), *layers)


class MertoolsNetwork(nn.Module):
    """See the module's formulas."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: TrainParams) -> None:
        super().__init__()
        d = params.d
        self.encode = nn.ModuleList(_mlp(dim, d, params.dropout) for dim in dims)
        self.attend = _mlp(d * len(dims), d, params.dropout)
        self.weigh = nn.Linear(d, len(dims))
        self.classify = nn.Linear(d, classes)

    def forward(self, x: list[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, C) and w (n, M)."""
        present = mask.unsqueeze(2)
        h = torch.stack([encode(matrix) for encode, matrix in zip(self.encode, x, strict=True)], dim=1) * present
        w = self.weigh(self.attend(h.flatten(start_dim=1))) * mask
        return self.classify(torch.einsum("nm,nmd->nd", w, h)), w


class Mertools(NetworkHead):
    """The official baseline, trained with Adam as there."""

    optimiser = torch.optim.Adam

    def build(self) -> nn.Module:
        """See `NetworkHead`."""
        return MertoolsNetwork(self.dims, self.classes, self.params)
