"""The base of the built-in heads that are torch networks: trained many at once (stack.py), but scored one by one."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.base import ComputeConfig, Epoch, Head, Logits, TrainingJob
from mer_pipeline.heads.early_stopping import Progress
from mer_pipeline.heads.layers import Noise
from mer_pipeline.heads.objective import ALL_KINDS
from mer_pipeline.heads.stack import train_networks

STACK_VALUES = 2**21  # the most parameters of a stack on a CPU: a larger one doesn't fit its caches and saves nothing


class Network(nn.Module):
    """K networks of one shape. A new object is one network (K = 1)."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: NetworkParams) -> None:
        """Make one network, with weights drawn from torch's global generator."""
        del dims, classes, params  # only subclasses use them
        super().__init__()

    @abstractmethod
    def forward(self, x: list[Tensor], mask: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """Return logits (K, n, C) and modality weights (K, n, M).

        Args:
            x: M tensors, float32 (K, n, D_m), standardised, with zeros where the mask is false.
            mask: bool (K, n, M), true where a clip has the modality.
            noise: the random numbers for dropout in training; None otherwise.
        """


class NetworkHead(Head):
    """A head that consists of a network, trained with AdamW or Adam.

    Attributes:
        rates: the params that may differ between members of one stack. The network must read them from its `Noise`.
        network_type: the class of the network.
        decoupled_decay: true for AdamW, false for Adam.
        network: the network.
        validation: float32 (n, C), the logits of the validation rows at the best epoch; None without a validation fold.
    """

    Params = NetworkParams
    searched = True
    kinds = ALL_KINDS
    rates: ClassVar[frozenset[str]] = frozenset({"lr", "weight_decay", "dropout"})
    params: NetworkParams
    network_type: ClassVar[type[Network]]
    decoupled_decay: ClassVar[bool]
    network: Network
    validation: Matrix | None = None

    @classmethod
    def fit_all(
        cls,
        features: Features,
        jobs: Sequence[TrainingJob],
        classes: int,
        compute: ComputeConfig,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """See `Head`. The seed of a job decides its weights, dropout and order of the rows."""
        heads = [cls(features.dims, classes, job.params) for job in jobs]
        for head, job in zip(heads, jobs, strict=True):
            head.network = head.build(job.seed)
        histories: list[list[Epoch]] = [[] for _ in heads]

        def learn(stack: list[int], own: list[TrainingJob]) -> list[Progress]:
            networks, params = [heads[i].network for i in stack], [heads[i].params for i in stack]
            decay = cls.decoupled_decay
            return train_networks(networks, features, own, params, classes, compute.device, decoupled_decay=decay)

        def train(stack: list[int]) -> list[int]:
            # Copied and not built anew for the refit: the threads share the generator that drew the weights.
            fresh = [copy.deepcopy(heads[i].network) for i in stack]
            told = learn(stack, [jobs[i] for i in stack])
            again: dict[int, TrainingJob] = {}
            for i, one, network in zip(stack, told, fresh, strict=True):
                histories[i] = one.history
                heads[i].validation = None if one.best is None else one.best.logits
                if heads[i].params.refit and jobs[i].validation is not None:
                    heads[i].network, again[i] = network, one.whole()
            if again:
                learn(list(again), list(again.values()))
            return stack

        each = [
            [alike[i] for i in stack]
            for alike in of_one_shape(jobs, cls.rates)
            for stack in stacks(heads[alike[0]].network, len(alike), compute)
        ]
        for stack in side_by_side(train, each, compute.workers):
            for _ in stack:
                tick()
        return list(zip(heads, histories, strict=True))

    def build(self, seed: int) -> Network:
        """Return a new network with weights drawn by this seed; torch's global generator keeps its state."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.network_type(self.dims, self.classes, self.params)

    def score(self, group: Features) -> Logits:
        """See `Head`."""
        with torch.no_grad():
            x = [torch.from_numpy(matrix).unsqueeze(0) for matrix in group.x]
            logits, weights = self.network(x, torch.from_numpy(group.mask).unsqueeze(0))
        return Logits(logits[0].numpy(), weights[0].numpy())

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        return {name: tensor[0].numpy() for name, tensor in self.network.state_dict().items()}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        self.network = self.build(seed=0)
        state = {name: torch.from_numpy(np.copy(array)).unsqueeze(0) for name, array in tensors.items()}
        self.network.load_state_dict(state)


def of_one_shape(jobs: Sequence[TrainingJob], rates: Collection[str]) -> list[list[int]]:
    """Return the indices of the jobs that may share a stack: those whose params differ only in `rates`."""
    alike: dict[str, list[int]] = {}
    for i, job in enumerate(jobs):
        alike.setdefault(job.params.model_dump_json(exclude=set(rates)), []).append(i)
    return list(alike.values())


def stacks(network: Network, members: int, compute: ComputeConfig) -> list[range]:
    """Return which members are trained as one stack.

    On a CPU a stack has at most STACK_VALUES parameters, and there are enough stacks for all workers. On a GPU all
    members form one stack.
    """
    values = sum(parameter.numel() for parameter in network.parameters())
    size = members
    if compute.device.type == "cpu":
        size = max(1, min(STACK_VALUES // values, -(-members // compute.workers)))
    return [range(start, min(start + size, members)) for start in range(0, members, size)]


def side_by_side(
    train: Callable[[list[int]], list[int]], each: Sequence[list[int]], workers: int
) -> Iterator[list[int]]:
    """Train the stacks in several threads, and yield each one when it is done."""
    if min(workers, len(each)) == 1:
        yield from map(train, each)
        return
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)) as pool:
        futures = [pool.submit(train, stack) for stack in each]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def present_or_all(mask: Tensor) -> Tensor:
    """Return the mask (K, n, M) with all modalities marked in a row that has none.

    A softmax over such a row would be NaN otherwise. The result for it is never used.
    """
    return mask | ~mask.any(dim=2, keepdim=True)


def equal_shares(mask: Tensor) -> Tensor:
    """Return equal modality weights, float32 (K, n, M): one over the number of present modalities; 0 if absent."""
    return mask / mask.sum(dim=2, keepdim=True).clamp(min=1)
