"""The head `gated`: the gated multimodal unit (Arevalo et al. 2017, arXiv 1702.01992) for any number of modalities.

    h_m = tanh(W_m Dropout(x_m) + b_m)
    g_m = softmax over present m of (V [h_1 ... h_M])_m       one gate for each of the d values
    logits = Linear(Dropout(Σ g_m ⊙ h_m))

The paper's gate for two modalities is a sigmoid of the raw inputs. Here it is a softmax, which equals a sigmoid for two
modalities and works for any number, and its inputs are the tokens h_m.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.layers import Linear, Noise, drop, masked_softmax
from mer_pipeline.heads.network import Network, NetworkHead, present_or_all


class GatedNetwork(Network):
    """The network of gated fusion; the module has its formulas."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: NetworkParams) -> None:
        super().__init__(dims, classes, params)
        d = params.d
        self.project = nn.ModuleList(Linear(dim, d) for dim in dims)
        self.gate = Linear(d * len(dims), d * len(dims))
        self.classify = Linear(d, classes)

    def forward(self, x: list[Tensor], mask: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (K, n, C), and the mean gate of each modality as its weight (K, n, M)."""
        parts = [project(drop(matrix, noise)).tanh() for project, matrix in zip(self.project, x, strict=True)]
        h = torch.stack(parts, dim=2) * mask.unsqueeze(3)
        scores = self.gate(h.flatten(2)).unflatten(2, h.shape[2:])
        gates = masked_softmax(scores, present_or_all(mask).unsqueeze(3), dim=2)
        return self.classify(drop((gates * h).sum(dim=2), noise)), gates.mean(dim=3)


class Gated(NetworkHead):
    """Gated fusion, trained with AdamW."""

    network_type = GatedNetwork
    decoupled_decay = True
