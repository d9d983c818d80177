"""The head `ecmf`: the fusion of ECMF (arXiv 2508.05991), reconstructed from the abstract of the paper.

What the paper leaves open is this project's choice.

h_m = LN(W_m Dropout(x_m) + b_m) + e_m       one token per modality, e_m its learned embedding
H'  = LN(H + MHA(H, H, H))                   attention across the clip's modalities, absent ones masked
H'' = LN(H' + FFN(H'))
α   = softmax over present m of w·H''_m      the modality weights that are reported
z   = Σ α_m H''_m + Σ β_m h_m                second residual, on the original representations
logits = MLP(z)

`ecmf` is this network alone; `ecmf+late` is its mean with linear late fusion (training/validated.py).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from mer_pipeline.config.section import Count, Rate
from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.attention import Block
from mer_pipeline.heads.base import Ablations
from mer_pipeline.heads.layers import LayerNorm, Linear, Noise, drop, masked_softmax, parameter
from mer_pipeline.heads.network import Network, NetworkHead, present_or_all


class EcmfParams(NetworkParams):
    """ECMF's options: its attention, its residuals, and what it hides in training."""

    attention_layers: Annotated[int, Field(ge=0)] = 1  # 0: no token attends to another
    attention_heads: Count = 4  # of each layer; `train.d` must be a multiple of it
    residual: bool = True  # the second residual, on the tokens before attention
    modality_dropout: Rate = 0.1  # the probability that a present modality is hidden in training

    @model_validator(mode="after")
    def _divides(self) -> EcmfParams:
        if self.d % self.attention_heads:
            raise ValueError(f"d ({self.d}) must be a multiple of attention_heads ({self.attention_heads})")
        return self


class EcmfNetwork(Network):
    """The network of ECMF; the module has its formulas."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: EcmfParams) -> None:
        super().__init__(dims, classes, params)
        d = params.d
        self.project = nn.ModuleList(Linear(dim, d) for dim in dims)
        self.norm = nn.ModuleList(LayerNorm(d) for _ in dims)
        self.embedding = parameter(torch.randn(len(dims), d) * 0.02)
        self.blocks = nn.ModuleList(Block(d, params.attention_heads) for _ in range(params.attention_layers))
        self.weigh = parameter(nn.Linear(d, 1, bias=False).weight.squeeze(0))
        self.beta = parameter(torch.full((len(dims),), 1 / len(dims))) if params.residual else None
        self.hidden, self.classify = Linear(d, d), Linear(d, classes)

    def forward(self, x: list[Tensor], mask: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (K, n, C) and the modality weights α (K, n, M)."""
        if noise is not None:
            mask = drop_modalities(mask, noise)
        present = present_or_all(mask)
        parts = zip(self.norm, self.project, x, strict=True)
        tokens = torch.stack([norm(project(drop(matrix, noise))) for norm, project, matrix in parts], dim=2)
        h = contextual = tokens + self.embedding[:, None]
        for block in self.blocks:
            contextual = block(contextual, present, noise)
        alpha = masked_softmax((contextual * self.weigh[:, None, None]).sum(dim=3), present, dim=2)
        z = (alpha.unsqueeze(3) * contextual).sum(dim=2)
        if self.beta is not None:
            z = z + ((self.beta[:, None] * present).unsqueeze(3) * h).sum(dim=2)
        return self.classify(drop(self.hidden(z).relu(), noise)), alpha


def drop_modalities(mask: Tensor, noise: Noise) -> Tensor:
    """Hide each present modality with its member's `modality_dropout`. A row that would lose all modalities keeps all.

    Args:
        mask: bool (K, n, M), true for a present modality.
        noise: the random numbers and the rates of the members.

    Returns:
        The mask of the modalities that are left, bool (K, n, M).
    """
    kept = mask & noise.keep(mask.shape, noise.rate("modality_dropout")).bool()
    return torch.where(kept.any(dim=2, keepdim=True), kept, mask)


class Ecmf(NetworkHead):
    """ECMF's network, trained with AdamW."""

    Params = EcmfParams
    network_type = EcmfNetwork
    decoupled_decay = True
    rates = NetworkHead.rates | {"modality_dropout"}
    ablations: ClassVar[Ablations] = {
        "attention off": {"attention_layers": 0},  # α stays, but is computed from the tokens themselves
        "residual off": {"residual": False},
    }
