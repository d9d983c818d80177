"""Heads that are torch networks: one training loop with early stopping, reproducible to the bit on a CPU.

The best epoch is the one with the highest weighted F1 on the watched fold, of equals the one with the lowest
cross-entropy there (on twenty clips F1 stands still while the head still learns); training ends `patience` epochs
after it. Without a watched fold it ends after `patience` epochs, and the last weights stay.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mer_pipeline.fusion.features import Features, Matrix
from mer_pipeline.fusion.heads.base import Epoch, Examples, Head, Logits
from mer_pipeline.fusion.metrics import Confusion


class NetworkHead(Head):
    """A head whose `network(x, mask)` gives logits (n, C) and modality weights (n, M).

    There x is a list of M tensors float32 (n, D_m) and mask bool (n, M). Masked inputs are zeros.
    """

    optimiser: ClassVar[type[torch.optim.Adam]]  # AdamW is one of Adam's subclasses
    network: nn.Module

    @abstractmethod
    def build(self) -> nn.Module:
        """The network with fresh weights from torch's global generator."""

    def fit(self, train: Examples, watched: Examples | None, seed: int) -> list[Epoch]:
        """Train with cross-entropy; the seed decides the weights, the dropout and the order of the rows."""
        params, order = self.params, torch.Generator().manual_seed(seed)
        x, mask = _tensors(train.features)
        y = torch.from_numpy(train.label)
        history: list[Epoch] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = self.build()
            optimiser = self.optimiser(
                self.network.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True
            )
            best, best_epoch, kept = (-1.0, 0.0), 0, self.network.state_dict()
            for epoch in range(params.epochs):
                self.network.train()
                total = 0.0
                for rows in torch.split(torch.randperm(len(y), generator=order), params.batch_size):
                    logits, _ = self.network([matrix[rows] for matrix in x], mask[rows])
                    loss = nn.functional.cross_entropy(logits, y[rows])
                    optimiser.zero_grad()
                    torch.autograd.backward(loss)
                    optimiser.step()
                    total += float(loss.detach()) * len(rows)
                seen = None if watched is None else self._watch(watched)
                history.append(Epoch(epoch, total / len(y), None if seen is None else seen[0]))
                if seen is not None and seen > best:
                    best, best_epoch = seen, epoch
                    kept = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
                if epoch - best_epoch >= params.patience - (watched is None):
                    break
            self.network.load_state_dict(kept)
        self.network.eval()
        return history

    def _watch(self, watched: Examples) -> tuple[float, float]:
        """Weighted F1 and minus the cross-entropy."""
        self.network.eval()
        with torch.no_grad():
            logits, _ = self.network(*_tensors(watched.features))
            loss = nn.functional.cross_entropy(logits, torch.from_numpy(watched.label))
        predicted = logits.argmax(dim=1).numpy()
        return Confusion.of(watched.label, predicted, self.classes).weighted_f1, -float(loss)

    def score(self, group: Features) -> Logits:
        """See `Head`."""
        with torch.no_grad():
            logits, weights = self.network(*_tensors(group))
        return Logits(logits.numpy(), weights.numpy())

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        return {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        with torch.random.fork_rng(devices=[]):
            self.network = self.build()
        self.network.load_state_dict({name: torch.from_numpy(np.copy(array)) for name, array in tensors.items()})
        self.network.eval()


def _tensors(features: Features) -> tuple[list[Tensor], Tensor]:
    return [torch.from_numpy(matrix) for matrix in features.x], torch.from_numpy(features.mask)
