"""Layers of K networks at once: every tensor has a leading axis of members, and no member sees another.

    x (K, n, D) · weight (K, D, d) + bias (K, 1, d)        one batched product instead of K

A member's values are the same bytes whatever stands beside it: its products have the same shape, each of its matrices
starts at a multiple of ALIGNED (BLAS rounds by where a matrix starts), and its dropout is drawn from a stream of its
own. What is written here for K is also what a member computes alone, as K = 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mer_pipeline.config.train_params import NetworkParams

ALIGNED = 16  # float32 values: 64 bytes
LEAST, STEPS = -(2**15), 2**16  # of the 16-bit integers that dropout is decided by: its rate is exact to 2^-16


class Noise:
    """What K members do not see in training: random bits, each from its own generator, at rates of its own."""

    def __init__(self, seeds: Sequence[int], params: Sequence[NetworkParams], device: torch.device) -> None:
        self.params, self.device = params, device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._rates: dict[str, Tensor] = {}

    def rate(self, name: str) -> Tensor:
        """Float32 (K,): each member's value of a param."""
        if name not in self._rates:
            self._rates[name] = torch.tensor([getattr(each, name) for each in self.params], device=self.device)
        return self._rates[name]

    def keep(self, shape: Sequence[int], p: Tensor) -> Tensor:
        """Float32 of this shape, the first axis being the members': 0 with probability p, float32 (K,), and else 1."""
        each = math.prod(shape[1:])
        bits = torch.empty(len(self.generators), -(-each // 4), dtype=torch.int64, device=self.device)
        for row, generator in zip(bits, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)  # four decisions from every draw
        last = ((p * STEPS).round() + LEAST).clamp(max=-LEAST - 1) - 1  # integer that drops
        # Of whole numbers: 1 where it is above that, else 0; several times as fast as a comparison and its conversion.
        return bits.view(torch.int16)[:, :each].float().sub_(last.unsqueeze(1)).clamp_(0, 1).reshape(*shape)


def drop(x: Tensor, noise: Noise | None) -> Tensor:
    """Dropout; without noise (that is: not in training) nothing is dropped."""
    if noise is None:
        return x
    rate = noise.rate("dropout")
    return x * noise.keep(x.shape, rate) / (1 - rate).view(-1, *[1] * (x.dim() - 1))


def parameter(values: Tensor) -> nn.Parameter:
    """The parameter of a single member, to be stacked with others."""
    return nn.Parameter(values.detach().contiguous().unsqueeze(0))


def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias for x (K, n, D), weight (K, D, d), bias (K, 1, d) and n a multiple of ALIGNED: (K, n, d)."""
    inputs, outputs = weight.shape[1:]
    if inputs == 1:  # a side of one goes another way where it stands alone
        x, weight = pad(x, (0, 1)), pad(weight, (0, 0, 0, 1))
    if more := -outputs % ALIGNED:
        weight, bias = pad(weight, (0, more)), pad(bias, (0, more))
    return torch.baddbmm(bias, x, weight)[:, :, :outputs]


class Linear(nn.Module):
    """(K, ..., inputs) to (K, ..., outputs); starts as torch's own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        drawn = nn.Linear(inputs, outputs)
        self.weight, self.bias = parameter(drawn.weight.T), parameter(drawn.bias.unsqueeze(0))

    def forward(self, x: Tensor) -> Tensor:
        """All of a member's rows in one product."""
        return product(x.flatten(1, -2), self.weight, self.bias).reshape(*x.shape[:-1], -1)


class LayerNorm(nn.Module):
    """Over the last axis of (K, ..., d)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight, self.bias = parameter(torch.ones(1, d)), parameter(torch.zeros(1, d))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise, then each member's own scale and shift."""
        rows = nn.functional.layer_norm(x.flatten(1, -2), x.shape[-1:])
        return (rows * self.weight + self.bias).view(x.shape)


class Mlp(nn.Module):
    """Dropout, then `depth` times Linear and ReLU."""

    def __init__(self, inputs: int, d: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(inputs if at == 0 else d, d) for at in range(depth))

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """(K, n, inputs) to (K, n, d)."""
        x = drop(x, noise)
        for layer in self.layers:
            x = layer(x).relu()
        return x


def masked_softmax(scores: Tensor, present: Tensor, dim: int) -> Tensor:
    """Softmax over what is present; every slice has something present."""
    return scores.masked_fill(~present, -torch.inf).softmax(dim)
