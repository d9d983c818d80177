"""Use an ordinary `torch.nn.Module` as a head, which is built and trained one member after the other.

    class MyHead(nn.Module):
        def __init__(self, dims: tuple[int, ...], classes: int, params: NetworkParams): ...
        def forward(self, x: list[Tensor], mask: Tensor) -> Tensor | tuple[Tensor, Tensor]: ...

    x         one tensor per modality, float32 (n, D_m), standardised; zeros where a clip lacks the modality
    mask      bool (n, M), true where a clip has the modality
    returns   logits (n, C); or logits and modality weights (n, M), which are reported. No row may depend on another.

`classes` is the number of values that are predicted for a clip, which are classes or numbers (objective.py).

`train` and `eval` are called as usual, so layers such as `nn.Dropout` work. The optimiser is AdamW, and the loss that
of the kind of target (losses.py). Standardisation, order of the rows, early stopping and refit are those of the
built-in networks. Options of the head are the fields of a class `Params` derived from NetworkParams. Its rows of the
ablation table are in `ablations` (base.py).

The seed of a member decides its weights and all random numbers that its module draws from torch, so it does not depend
on other members. Torch's generator is shared by all threads, so members can't be trained at once. The built-in networks
are trained as stacks instead (network.py), which is several times as fast but needs special layers.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from mer_pipeline.base.errors import Bug, ComponentError, MerError
from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.base.outcome import trace
from mer_pipeline.base.runtime import raise_if_stopped
from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.base import GROUP, ComputeConfig, Epoch, Examples, Head, Logits, TrainingJob
from mer_pipeline.heads.device_features import DeviceFeatures
from mer_pipeline.heads.early_stopping import Progress, ValidationScore
from mer_pipeline.heads.losses import disagreement, row_losses
from mer_pipeline.heads.objective import ALL_KINDS

log = logging.getLogger(__name__)


class ModuleHead(Head):
    """A head around an ordinary `torch.nn.Module` of the class `module_type`."""

    Params = NetworkParams
    searched = True
    kinds = ALL_KINDS
    module_type: ClassVar[type[nn.Module]]
    params: NetworkParams
    module: nn.Module

    @classmethod
    def code(cls) -> tuple[type, ...]:
        """See `Head`. The class of the module comes last."""
        return (ModuleHead, cls.module_type)

    @classmethod
    def fit_all(
        cls,
        features: Features,
        jobs: Sequence[TrainingJob],
        classes: int,
        compute: ComputeConfig,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """See `Head`."""
        fitted = []
        for job in jobs:
            head = cls(features.dims, classes, job.params)
            progress = head.train_on(features, job, compute.device)
            if head.params.refit and job.validation is not None:
                head.train_on(features, progress.whole(), compute.device)
            fitted.append((head, progress.history))
            tick()
        return fitted

    def train_on(self, features: Features, job: TrainingJob, device: torch.device) -> Progress:
        """Build the module, train it, and keep its state after the best epoch."""
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(job.seed)
            module = self.build().to(device)
            with self.own_faults():  # fails if the module has no parameters
                optimiser = torch.optim.AdamW(
                    module.parameters(), lr=self.params.lr, weight_decay=self.params.weight_decay
                )
            on_device, progress = DeviceFeatures(features, [job], device), Progress.begin(0, job, self.params)
            best = module.state_dict()
            for epoch in range(progress.epochs):
                raise_if_stopped()
                loss = self._epoch(module, optimiser, on_device, progress)
                if progress.after(epoch, loss, self._validate(module, on_device, job.validation)):
                    best = copy.deepcopy(module.state_dict())
                if progress.ends(epoch):
                    break
        module.load_state_dict(best)
        self.module = module.cpu().eval()
        return progress

    def build(self) -> nn.Module:
        """Return a new module, with weights drawn from torch's global generator."""
        with self.own_faults():
            return self.module_type(self.dims, self.classes, self.params)

    def call(self, module: nn.Module, x: list[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Call the module and check its result.

        Args:
            module: the module.
            x: M tensors, float32 (n, D_m), standardised.
            mask: bool (n, M).

        Returns:
            Logits (n, C).
            Modality weights (n, M); if the module returns none, they are equal for all present modalities.

        Raises:
            Bug: the module raises an error.
            ComponentError: the result has another shape, or logits that are not finite.
        """
        with self.own_faults():
            given = module(x, mask)
        logits, weights = given if isinstance(given, tuple) else (given, None)
        weights = mask / mask.sum(dim=1, keepdim=True).clamp(min=1) if weights is None else weights
        for what, tensor, width in (("logits", logits, self.classes), ("modality weights", weights, mask.shape[1])):
            if not isinstance(tensor, Tensor) or tensor.shape != (len(mask), width):
                found = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise ComponentError(f"{self._where}: forward gives {what} {found}, not ({len(mask)}, {width})")
        if not logits.isfinite().all():
            raise ComponentError(f"{self._where}: forward gives logits that are infinite or no numbers")
        return logits, weights

    def _epoch(
        self, module: nn.Module, optimiser: torch.optim.Optimizer, on_device: DeviceFeatures, progress: Progress
    ) -> float:
        """Train for one epoch, and return the mean loss."""
        train, total = progress.job.train, 0.0
        rows, device = torch.from_numpy(train.rows), on_device.mask.device
        target, weight = torch.from_numpy(train.target), torch.from_numpy(train.weight)
        module.train()
        for at in batches(torch.randperm(len(rows), generator=progress.order), progress.params.batch_size):
            x, mask = on_device.batch(rows[None, at].to(device))
            logits, _ = self.call(module, [matrix[0] for matrix in x], mask[0])
            values, own, share = logits[None], target[at].to(device)[None], weight[at].to(device)
            loss = (row_losses(train.kind, values, own)[0] * share).mean()
            if train.kind == "regression":
                loss = loss + disagreement(values, own, share[None])[0]
            optimiser.zero_grad()
            with self.own_faults():
                loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += float(loss.detach()) * len(at)
        return total / len(rows)

    def _validate(
        self, module: nn.Module, on_device: DeviceFeatures, examples: Examples | None
    ) -> ValidationScore | None:
        """Return the module's score on the validation fold, or None without one."""
        if examples is None:
            return None
        module.eval()
        device, said = on_device.mask.device, []
        with torch.no_grad():
            for at in torch.split(torch.from_numpy(examples.rows), GROUP):
                x, mask = on_device.batch(at[None].to(device))
                said.append(self.call(module, [matrix[0] for matrix in x], mask[0])[0])
        logits = torch.cat(said).cpu()
        loss = row_losses(examples.kind, logits[None], torch.from_numpy(examples.target)[None]).mean()
        return ValidationScore.of(examples, logits.numpy(), float(loss))

    def score(self, group: Features) -> Logits:
        """See `Head`."""
        with torch.no_grad():
            x = [torch.from_numpy(matrix) for matrix in group.x]
            logits, weights = self.call(self.module, x, torch.from_numpy(group.mask))
        return Logits(logits.numpy(), weights.float().numpy())

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        return {name: tensor.numpy() for name, tensor in self.module.state_dict().items()}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""
        with torch.random.fork_rng(devices=[]):
            self.module = self.build().eval()
        state = {name: torch.from_numpy(np.copy(array)) for name, array in tensors.items()}
        shapes = self.module.state_dict()  # files have no 0-dimensional tensors, such as the counter of batch norm
        self.module.load_state_dict({name: values.view(shapes[name].shape) for name, values in state.items()})

    @property
    def _where(self) -> str:
        return f"head '{self.module_type.__module__}:{self.module_type.__qualname__}'"

    @contextmanager
    def own_faults(self) -> Iterator[None]:
        """Turn an error in the code of the module into a Bug with its file and line; the log gets the traceback.

        Raises:
            Bug: the code in the context raises an error of another kind than MerError.
        """
        try:
            yield
        except MerError:
            raise
        except Exception as error:
            place, text = trace(error, __file__)
            log.info("%s failed at %s", self._where, place, extra={"details": text})
            raise Bug(f"{self._where}: {type(error).__name__} at {place}: {error}") from error


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Split the order into batches of this size. A last batch of a single row joins the one before, for batch norm.

    Example:
        >>> import torch
        >>> [batch.tolist() for batch in batches(torch.arange(5), 2)]
        [[0, 1], [2, 3, 4]]
    """
    parts = list(torch.split(order, size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@cache
def head_of_module(module: type[nn.Module]) -> type[ModuleHead]:
    """Return the head class for a class of modules.

    Raises:
        ComponentError: its `Params` do not derive from NetworkParams.
    """
    params = getattr(module, "Params", NetworkParams)
    if not (isinstance(params, type) and issubclass(params, NetworkParams)):
        raise ComponentError(
            f"head '{module.__module__}:{module.__qualname__}': its Params must derive from "
            f"{NetworkParams.__module__}.{NetworkParams.__qualname__}"
        )
    own = {name: getattr(module, name) for name in ("ablations", "version") if hasattr(module, name)}
    return type(module.__name__, (ModuleHead,), {"module_type": module, "Params": params, **own})
