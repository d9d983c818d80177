"""The loss of networks for each kind of target.

    class        cross-entropy of the softmax and the target distribution
    multilabel   binary cross-entropy of each class's sigmoid, the mean over the classes
    regression   mean squared error of the standardised numbers + (1 - CCC) over the batch, the mean over the dimensions

The squared error alone draws predictions of noisy labels towards their mean, which CCC counts as an error of scale; CCC
alone has hardly a slope in a small batch. So both are added [ours]; each is about 1 for a head that knows nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mer_pipeline.base.kind import Kind

LEAST = 1e-6  # keeps the CCC of a batch of equal rows finite


def row_losses(kind: Kind, values: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each row, (K, n), for values and targets (K, n, C); without the CCC, which no row has."""
    if kind == "class":
        rows = nn.functional.cross_entropy(values.flatten(0, 1), target.flatten(0, 1), reduction="none")
        return rows.view(target.shape[:2])
    if kind == "multilabel":
        return nn.functional.binary_cross_entropy_with_logits(values, target, reduction="none").mean(dim=2)
    return (values - target).square().mean(dim=2)


def batch_losses(kind: Kind, values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the loss of a batch for each of K members, (K,).

    Args:
        kind: the kind of target.
        values: (K, n, C), what the networks give.
        target: (K, n, C), what is learnt.
        weight: (K, n), the weight of each row; they sum to about 1, and are 0 for rows that only fill the batch.
    """
    losses = (row_losses(kind, values, target) * weight).sum(dim=1)
    return losses + disagreement(values, target, weight) if kind == "regression" else losses


def disagreement(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return 1 - CCC of a batch, the mean over the dimensions, (K,); 0 without rows. The arguments are the same."""
    share = (weight / weight.sum(dim=1, keepdim=True).clamp(min=LEAST)).unsqueeze(2)
    x, y = (each - (share * each).sum(dim=1, keepdim=True) for each in (target, values))
    apart = ((share * (target - values)).sum(dim=1)).square()
    both, squares = (share * x * y).sum(dim=1), (share * (x.square() + y.square())).sum(dim=1)
    ccc = 2 * both / (squares + apart + LEAST)
    return torch.where(weight.sum(dim=1) > 0, (1 - ccc).mean(dim=1), 0)
