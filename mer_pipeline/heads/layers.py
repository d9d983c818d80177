"""Layers of K networks at once: every tensor has a leading axis of K members, which do not influence each other.

    x (K, n, D) · weight (K, D, d) + bias (K, 1, d)        one batched product instead of K

The values of a member are the same bytes whatever other members there are: its products always have the same shape,
each of its matrices starts at a multiple of ALIGNED values (the rounding of a BLAS depends on where a matrix starts),
and its dropout comes from its own random generator. A single member is the case K = 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mer_pipeline.config.train_params import NetworkParams

ALIGNED = 16  # float32 values: 64 bytes
LEAST, STEPS = -(2**15), 2**16  # the range of the 16-bit integers that decide dropout; rates are exact to 2^-16


class Noise:
    """The random numbers for dropout of K members, each with its own generator and its own rates."""

    def __init__(self, seeds: Sequence[int], params: Sequence[NetworkParams], device: torch.device) -> None:
        self.params, self.device = params, device
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._rates: dict[str, Tensor] = {}

    def rate(self, name: str) -> Tensor:
        """Return each member's value of the param of this name, float32 (K,)."""
        if name not in self._rates:
            self._rates[name] = torch.tensor([getattr(each, name) for each in self.params], device=self.device)
        return self._rates[name]

    def keep(self, shape: Sequence[int], p: Tensor) -> Tensor:
        """Return random zeros and ones.

        Args:
            shape: the shape of the result; its first axis is that of the K members.
            p: float32 (K,), each member's probability of a zero.

        Returns:
            float32 of this shape, 0 with probability p and 1 otherwise.
        """
        each = math.prod(shape[1:])
        bits = torch.empty(len(self.generators), -(-each // 4), dtype=torch.int64, device=self.device)
        for row, generator in zip(bits, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)  # every 64-bit draw gives four 16-bit integers
        last = ((p * STEPS).round() + LEAST).clamp(max=-LEAST - 1) - 1  # the largest integer that stands for a zero
        # For integers, this is 1 above `last` and 0 else. It is several times as fast as a comparison and a conversion.
        return bits.view(torch.int16)[:, :each].float().sub_(last.unsqueeze(1)).clamp_(0, 1).reshape(*shape)


def drop(x: Tensor, noise: Noise | None) -> Tensor:
    """Apply dropout to x (K, ...). Without noise, that is outside of training, x is returned unchanged."""
    if noise is None:
        return x
    rate = noise.rate("dropout")
    return x * noise.keep(x.shape, rate) / (1 - rate).view(-1, *[1] * (x.dim() - 1))


def parameter(values: Tensor) -> nn.Parameter:
    """Return the values as the parameter of a single member, with a leading axis of length 1."""
    return nn.Parameter(values.detach().contiguous().unsqueeze(0))


def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x @ weight + bias, (K, n, d).

    Args:
        x: (K, n, D), where n must be a multiple of ALIGNED.
        weight: (K, D, d).
        bias: (K, 1, d).
    """
    inputs, outputs = weight.shape[1:]
    if inputs == 1:  # a BLAS treats a side of length 1 differently if K is 1, so it is padded to 2
        x, weight = pad(x, (0, 1)), pad(weight, (0, 0, 0, 1))
    if more := -outputs % ALIGNED:
        weight, bias = pad(weight, (0, more)), pad(bias, (0, more))
    return torch.baddbmm(bias, x, weight)[:, :, :outputs]


class Linear(nn.Module):
    """A linear layer from (K, ..., inputs) to (K, ..., outputs), initialised as `torch.nn.Linear`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        drawn = nn.Linear(inputs, outputs)
        self.weight, self.bias = parameter(drawn.weight.T), parameter(drawn.bias.unsqueeze(0))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output; all rows of a member are computed in one product."""
        return product(x.flatten(1, -2), self.weight, self.bias).reshape(*x.shape[:-1], -1)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis of (K, ..., d)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight, self.bias = parameter(torch.ones(1, d)), parameter(torch.zeros(1, d))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise each row, then apply its member's scale and shift."""
        rows = nn.functional.layer_norm(x.flatten(1, -2), x.shape[-1:])
        return (rows * self.weight + self.bias).view(x.shape)


class Mlp(nn.Module):
    """A perceptron: dropout on the input, then `depth` times a linear layer and a ReLU."""

    def __init__(self, inputs: int, d: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(inputs if at == 0 else d, d) for at in range(depth))

    def forward(self, x: Tensor, noise: Noise | None) -> Tensor:
        """Return (K, n, d) for x (K, n, inputs)."""
        x = drop(x, noise)
        for layer in self.layers:
            x = layer(x).relu()
        return x


def masked_softmax(scores: Tensor, present: Tensor, dim: int) -> Tensor:
    """Return the softmax of the present scores, and 0 for the others. Every slice must have a present score.

    Args:
        scores: the scores.
        present: bool, of a shape that broadcasts to that of `scores`.
        dim: the axis of the softmax.

    Example:
        >>> import torch
        >>> masked_softmax(torch.zeros(1, 3), torch.tensor([[True, False, True]]), dim=1).tolist()
        [[0.5, 0.0, 0.5]]
    """
    return scores.masked_fill(~present, -torch.inf).softmax(dim)
