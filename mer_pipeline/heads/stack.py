"""Train many networks of one shape at once: one batched product replaces K small ones.

Every member has its own weights, rows, standardisation, order of the rows, rates, moments of the optimiser and last
epoch (early_stopping.py). A member whose training has ended leaves the stack.

On a CPU a member gets the same bytes as if it were trained alone. Batches are filled with rows of weight 0, so that the
shapes of a member's products do not depend on the other members, nor on when these leave the stack.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mer_pipeline.base.modalities import Features
from mer_pipeline.base.runtime import raise_if_stopped
from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.base import GROUP, Examples, TrainingJob
from mer_pipeline.heads.device_features import DeviceFeatures
from mer_pipeline.heads.early_stopping import Progress, ValidationScore
from mer_pipeline.heads.layers import ALIGNED, Noise
from mer_pipeline.heads.losses import batch_losses, row_losses

STREAM = 1_000_003  # the distance between the seeds for the dropout of two epochs


class Stack:
    """The members whose training goes on: their networks as one network, and its optimiser."""

    def __init__(
        self, networks: Sequence[nn.Module], params: Sequence[NetworkParams], *, decoupled_decay: bool
    ) -> None:
        self.rates, self.decoupled_decay = [(each.lr, each.weight_decay) for each in params], decoupled_decay
        self.network = copy.deepcopy(networks[0])
        parts = zip(*(network.parameters() for network in networks), strict=True)
        self.parameters = list(self.network.parameters())
        self._become([torch.cat([tensor.detach() for tensor in each]) for each in parts])
        self.first, self.second, self.best = ([torch.zeros_like(w) for w in self.weights] for _ in range(3))
        self.steps = [torch.zeros((), device=self.weights[0].device) for _ in networks]
        self._split()

    def _become(self, weights: list[Tensor]) -> None:
        for parameter, values in zip(self.parameters, weights, strict=True):
            parameter.data, parameter.grad = values, None

    def _split(self) -> None:
        """Make views of each member's weights and moments, for the optimiser."""
        parts = (self.weights, self.first, self.second)
        self.views = [[[tensor[k] for tensor in part] for part in parts] for k in range(len(self.rates))]

    @property
    def weights(self) -> list[Tensor]:
        """The parameters of the stack, each (K, ...)."""
        return [parameter.detach() for parameter in self.parameters]

    def step(self, losses: Tensor, active: list[int]) -> None:
        """Take one step of the optimiser for each active member.

        Args:
            losses: (K,), the loss of each member.
            active: the members that have rows in this batch.
        """
        slopes = [each.unbind(0) for each in torch.autograd.grad(losses.sum(), self.parameters)]
        # Torch's kernel is called directly, because the overhead of torch's functional `adam` would double the time.
        adam = torch._fused_adamw_ if self.decoupled_decay else torch._fused_adam_
        for k in active:
            weights, first, second = self.views[k]
            self.steps[k] += 1
            lr, weight_decay = self.rates[k]
            adam(
                weights, [slope[k] for slope in slopes], first, second, [], [self.steps[k]] * len(weights),
                lr=lr, weight_decay=weight_decay, beta1=0.9, beta2=0.999, eps=1e-8, amsgrad=False, maximize=False,
            )  # fmt: skip

    def remember(self, k: int) -> None:
        """Keep member k's weights as its best."""
        for best, weights in zip(self.best, self.weights, strict=True):
            best[k].copy_(weights[k])

    def write_best(self, k: int, network: nn.Module) -> None:
        """Copy the best weights of member k into `network`, on the CPU."""
        for parameter, best in zip(network.parameters(), self.best, strict=True):
            parameter.data = best[k : k + 1].cpu().clone()

    def keep(self, at: list[int]) -> None:
        """Keep only the members at these indices."""
        self._become([weights[at] for weights in self.weights])
        self.first, self.second, self.best = ([t[at] for t in each] for each in (self.first, self.second, self.best))
        self.steps = [self.steps[k] for k in at]
        self.rates = [self.rates[k] for k in at]
        self._split()


@dataclass(frozen=True)
class Batches:
    """The rows of K members in batches of equal width, filled with rows of weight 0.

    Attributes:
        rows: int64 (K, steps * width), the indices of the rows in the features.
        target: float32 (K, steps * width, C), their targets.
        weight: float32 (K, steps * width), the weight of each row in the mean of its batch.
        filled: int64 (K, steps), the number of real rows in each batch.
        width: the number of rows of a batch.
    """

    rows: Tensor
    target: Tensor
    weight: Tensor
    filled: Tensor
    width: int

    @classmethod
    def of(cls, each: Sequence[Examples], orders: Sequence[Tensor | None], size: int, device: torch.device) -> Batches:
        """Return the batches of each member's examples in the given order; None keeps them as they are."""
        counts = torch.tensor([len(examples.rows) for examples in each])
        steps = -(-int(counts.max()) // size)
        filled = (counts[:, None] - size * torch.arange(steps)).clamp(0, size)
        width = size + -size % ALIGNED
        rows = torch.zeros(len(each), steps * width, dtype=torch.int64)
        target, weight = torch.zeros(*rows.shape, each[0].target.shape[1]), torch.zeros(rows.shape)
        for k, (examples, order) in enumerate(zip(each, orders, strict=True)):
            at = torch.arange(len(examples.rows)) if order is None else order
            step = torch.arange(len(at)) // size
            column = torch.arange(len(at)) + step * (width - size)
            rows[k, column] = torch.from_numpy(examples.rows)[at]
            target[k, column] = torch.from_numpy(examples.target)[at]
            weight[k, column] = torch.from_numpy(examples.weight)[at] / filled[k, step]
        return cls(rows.to(device), target.to(device), weight.to(device), filled, width)

    def __iter__(self) -> Iterator[slice]:
        """Yield the slice of each batch."""
        return (slice(start, start + self.width) for start in range(0, self.rows.shape[1], self.width))


def train_networks(
    networks: Sequence[nn.Module],
    features: Features,
    jobs: Sequence[TrainingJob],
    params: Sequence[NetworkParams],
    classes: int,
    device: torch.device,
    *,
    decoupled_decay: bool,
) -> list[Progress]:
    """Train each network on its job by the loss of its kind of target. It gets its weights after the best epoch.

    Args:
        networks: one network per job, all of one shape.
        features: the features of all clips, not standardised.
        jobs: what each network learns from.
        params: the settings of each network; they may differ only in `NetworkHead.rates`.
        classes: the number of classes.
        device: where the networks are trained.
        decoupled_decay: true for AdamW, false for Adam.

    Returns:
        The progress of each network, with its training history.
    """
    on_device = DeviceFeatures(features, jobs, device)
    copies = [copy.deepcopy(network).to(device) for network in networks]
    stack = Stack(copies, params, decoupled_decay=decoupled_decay)
    members = [Progress.begin(i, *one) for i, one in enumerate(zip(jobs, params, strict=True))]
    told = list(members)
    for epoch in range(max(one.epochs for one in members)):
        raise_if_stopped()  # signals do not reach threads, so each one checks for itself
        losses = _epoch(stack, on_device, members, epoch)
        seen = _validate(stack, on_device, members, classes)
        for k, one in enumerate(members):
            if one.after(epoch, losses[k], seen[k]):
                stack.remember(k)
        ended = [one.ends(epoch) for one in members]
        for k, one in enumerate(members):
            if ended[k]:
                stack.write_best(k, networks[one.index])
        if any(ended):
            left = [k for k, end in enumerate(ended) if not end]
            if not left:
                break
            members = [members[k] for k in left]
            stack.keep(left)
            on_device.keep(left)
    return told


def _epoch(stack: Stack, on_device: DeviceFeatures, members: Sequence[Progress], epoch: int) -> list[float]:
    """Train every member for one epoch, and return their mean losses."""
    device = on_device.mask.device
    # The noise is seeded anew in each epoch. A member with fewer batches than others draws numbers that it doesn't use,
    # and these must not change its next epoch.
    seeds = [one.job.seed + STREAM * epoch for one in members]
    noise = Noise(seeds, [one.params for one in members], device)
    each = [one.job.train for one in members]
    orders = [torch.randperm(len(one.job.train.rows), generator=one.order) for one in members]
    batches = Batches.of(each, orders, members[0].params.batch_size, device)
    total = torch.zeros(len(members), device=device)
    for part, filled in zip(batches, batches.filled.T, strict=True):
        logits, _ = stack.network(*on_device.batch(batches.rows[:, part]), noise)
        losses = batch_losses(each[0].kind, logits, batches.target[:, part], batches.weight[:, part])
        stack.step(losses, filled.nonzero().flatten().tolist())
        total += losses.detach() * filled.to(device)
    return [loss / len(one.rows) for loss, one in zip(total.tolist(), each, strict=True)]


def _validate(
    stack: Stack, on_device: DeviceFeatures, members: Sequence[Progress], classes: int
) -> list[ValidationScore | None]:
    """Return the validation score of each member; None for a member without a validation fold."""
    if all(one.job.validation is None for one in members):
        return [None] * len(members)
    none = np.zeros(0, dtype=np.int64)
    each = [one.job.validation or Examples.of(none, none, none, classes) for one in members]
    device = on_device.mask.device
    batches = Batches.of(each, [None] * len(each), GROUP, device)
    losses, said = [], []
    with torch.no_grad():
        for part in batches:
            logits, _ = stack.network(*on_device.batch(batches.rows[:, part]))
            losses.append(row_losses(members[0].job.train.kind, logits, batches.target[:, part]))
            said.append(logits)
    loss, told = torch.cat(losses, dim=1).cpu(), torch.cat(said, dim=1).cpu().numpy()
    seen: list[ValidationScore | None] = []
    for k, examples in enumerate(each):
        n = len(examples.rows)
        own = told[k, :n].copy()  # a view would keep the logits of all members in memory
        seen.append(ValidationScore.of(examples, own, float(loss[k, :n].mean())) if n else None)
    return seen
