"""Run a network in groups of a fixed number of rows.

At one fixed shape a row's result is the same, bit for bit, wherever it stands and whatever else is in the
batch; at another number of rows it may differ in the last bits, because other kernels are chosen. So the last
group is filled up with copies of its first row (a row of zeros could make NaN where attention is masked).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def forward_rows(
    network: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor], rows: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """Apply a network to inputs of any number of rows, `rows` at a time.

    Args:
        network: takes the inputs, each (rows, ...), and gives (rows, ...).
        inputs: tensors with the same first axis, on the CPU.
        rows: the fixed number.
        device: where the network is.

    Yields:
        Each row's result, on the CPU, in order.
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
