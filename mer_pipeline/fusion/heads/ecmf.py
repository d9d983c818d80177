"""The fusion of ECMF (arXiv 2508.05991), reconstructed from its abstract: what the paper leaves open is ours.

h_m = LN(W_m x_m + b_m) + e_m                one token per modality, e_m its learned embedding
H'  = LN(H + MHA(H, H, H))                   attention across the clip's modalities, absent ones masked
H'' = LN(H' + FFN(H'))
α   = softmax over present m of w·H''_m      the modality weights that are reported
z   = Σ α_m H''_m + Σ β_m h_m                second residual, on the original representations
logits = MLP(z)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mer_pipeline.fusion.heads.network import NetworkHead
from mer_pipeline.params import TrainParams


class Block(nn.Module):
    """One post-LN transformer block over a clip's modality tokens, (n, M, d) to (n, M, d)."""

    def __init__(self, params: TrainParams) -> None:
        super().__init__()
        d, p = params.d, params.dropout
        self.attention = nn.MultiheadAttention(d, params.attention_heads, dropout=p, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Dropout(p), nn.Linear(2 * d, d))
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(d), nn.LayerNorm(d)
        self.drop = nn.Dropout(p)

    def forward(self, h: Tensor, absent: Tensor) -> Tensor:
        """`absent` is bool (n, M): keys that no token attends to."""
        h = self.norm_attention(h + self.drop(self.attention(h, h, h, key_padding_mask=absent, need_weights=False)[0]))
        out: Tensor = self.norm_feed_forward(h + self.drop(self.feed_forward(h)))
        return out


class EcmfNetwork(nn.Module):
    """See the module's formulas."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: TrainParams) -> None:
        super().__init__()
        d, p, self.modality_dropout = params.d, params.dropout, params.modality_dropout
        self.project = nn.ModuleList(nn.Sequential(nn.Linear(dim, d), nn.LayerNorm(d)) for dim in dims)
        self.embedding = nn.Parameter(torch.randn(len(dims), d) * 0.02)
        self.drop = nn.Dropout(p)
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.attention_layers))
        self.weigh = nn.Linear(d, 1, bias=False)
        self.beta = nn.Parameter(torch.full((len(dims),), 1 / len(dims)))
        self.classify = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Dropout(p), nn.Linear(d, classes))

    def forward(self, x: list[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, C) and α (n, M)."""
        if self.training:
            mask = drop_modalities(mask, self.modality_dropout)
        # A row without anything attends to everything, so that no softmax is over nothing; its member ignores it.
        present = mask | ~mask.any(dim=1, keepdim=True)
        tokens = torch.stack([project(matrix) for project, matrix in zip(self.project, x, strict=True)], dim=1)
        h = contextual = self.drop(tokens + self.embedding)
        for block in self.blocks:
            contextual = block(contextual, ~present)
        alpha = self.weigh(contextual).squeeze(2).masked_fill(~present, -torch.inf).softmax(dim=1)
        z = torch.einsum("nm,nmd->nd", alpha, contextual) + torch.einsum("nm,nmd->nd", self.beta * present, h)
        return self.classify(z), alpha


def drop_modalities(mask: Tensor, p: float) -> Tensor:
    """Hide each present modality with probability p; a row that would lose all keeps all. bool (n, M)."""
    kept = mask & (torch.rand(mask.shape) >= p)
    return torch.where(kept.any(dim=1, keepdim=True), kept, mask)


class Ecmf(NetworkHead):
    """ECMF's fusion, trained with AdamW."""

    optimiser = torch.optim.AdamW

    def build(self) -> nn.Module:
        """See `NetworkHead`."""
        return EcmfNetwork(self.dims, self.classes, self.params)
