"""Run a network on groups of a fixed number of rows.

At a fixed shape, the result of a row is the same, bit for bit, wherever the row stands in the batch and whatever the
other rows are. At another number of rows the result may differ in the last bits, because the libraries choose other
kernels. The last group is therefore filled up with copies of its first row. (Rows of zeros could give NaN where
attention is masked.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def forward_rows(
    network: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], rows: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Apply a network to inputs of any number of rows, `rows` rows at a time.

    Args:
        network: takes the inputs, each of shape (rows, ...), and returns a tensor of shape (rows, ...).
        inputs: tensors on the CPU whose first axes have the same length n.
        rows: the fixed number of rows in a group.
        device: the device of the network.

    Yields:
        The result of each of the n rows, in order, as a tensor on the CPU of shape (...) and the network's dtype.
    """
    import torch

    total = len(inputs[0])
    for start in range(0, total, rows):
        group = [tensor[start : start + rows] for tensor in inputs]
        present = len(group[0])
        if present < rows:
            group = [torch.cat([t, t[:1].expand(rows - present, *t.shape[1:])]) for t in group]
        with torch.inference_mode():
            result = network(*(tensor.to(device) for tensor in group))
        yield from result[:present].cpu()
