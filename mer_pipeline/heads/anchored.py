"""The head `anchored`: linear fusion and the network of ECMF, each with the weight that held-out clips give it.

    log p(c | x) = a log p_J(c | x) + b log p_N(c | x) + const      p_J: linear fusion (joint.py);  p_N: ecmf.py
    a, b         = argmin Σ_i w_i CE_i + PULL ((a - 1)² + b²)        a, b >= 0, over the clips i of the validation fold

Self-attention is worth much where one modality decides whether another one is to be believed, which no sum of evidence
can say. It is worth nothing where modalities add up, or where labels are too few to learn it. So the weights are pulled
to linear fusion alone, (1, 0), as strongly as some dozens of clips are worth, and the network has to earn its own. As
a and b are exponents, they also correct a part that is too sure. Both parts have not learnt from the validation fold
when it is asked; they learn from it afterwards. Without such a fold the weights stay at (1, 0).

The modality weights that are reported are those of the two parts, averaged by a and b.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator, model_validator
from scipy.optimize import minimize
from torch import Tensor

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.config.section import Count, Rate, distinct
from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.base import Ablations, ComputeConfig, Epoch, Examples, Head, Logits, TrainingJob
from mer_pipeline.heads.ecmf import EcmfNetwork, EcmfParams
from mer_pipeline.heads.inner import job_for
from mer_pipeline.heads.joint import Joint
from mer_pipeline.heads.layers import Noise
from mer_pipeline.heads.linear import log_softmax
from mer_pipeline.heads.logreg import LogRegParams, Strengths
from mer_pipeline.heads.network import Network, NetworkHead
from mer_pipeline.scores.confusion import FloatArray

PULL = 10.0  # to (1, 0), in nats summed over the validation clips
LINEAR_ALONE = np.array([1, 0], dtype=np.float32)


class AnchoredParams(NetworkParams):
    """The options of linear fusion and of the network."""

    c: Strengths = (1e-4, 1e-3, 1e-2, 1e-1)  # candidates for the inverse regularisation of linear fusion
    attention_layers: Annotated[int, Field(ge=0)] = 1  # 0: no token attends to another
    attention_heads: Count = 4  # of each layer; `train.d` must be a multiple of it
    residual: bool = True  # the network's residual, on the tokens before attention
    modality_dropout: Rate = 0.1  # the probability that a present modality is hidden in training
    network: bool = True  # false: linear fusion alone, as `joint`

    @field_validator("c")
    @classmethod
    def _distinct(cls, c: tuple[float, ...]) -> tuple[float, ...]:
        return distinct(c)

    @model_validator(mode="after")
    def _divides(self) -> AnchoredParams:
        if self.d % self.attention_heads:
            raise ValueError(f"d ({self.d}) must be a multiple of attention_heads ({self.attention_heads})")
        return self

    @property
    def ecmf(self) -> EcmfParams:
        """The options of the network."""
        shared = type(self).model_fields.keys() & EcmfParams.model_fields.keys()
        return EcmfParams(**{name: getattr(self, name) for name in shared})

    @property
    def linear(self) -> LogRegParams:
        """The options of linear fusion."""
        return LogRegParams(c=self.c)


class AttentionNetwork(Network):
    """The network of ECMF, by the params of this head."""

    def __init__(self, dims: tuple[int, ...], classes: int, params: AnchoredParams) -> None:
        super().__init__(dims, classes, params)
        self.network = EcmfNetwork(dims, classes, params.ecmf)

    def forward(self, x: list[Tensor], mask: Tensor, noise: Noise | None = None) -> tuple[Tensor, Tensor]:
        """See `Network`."""
        found: tuple[Tensor, Tensor] = self.network(x, mask, noise)
        return found


class Attention(NetworkHead):
    """The network, trained with AdamW."""

    Params = AnchoredParams
    network_type = AttentionNetwork
    decoupled_decay = True
    rates = NetworkHead.rates | {"modality_dropout"}


class Anchored(Head):
    """A log-linear pool of linear fusion and the network of ECMF.

    Attributes:
        joint: linear fusion.
        network: the network; None where its weight is 0.
        weights: float32 (2,), a and b.
    """

    Params = AnchoredParams
    searched = True
    ablations: ClassVar[Ablations] = {
        "network off": {"network": False},
        "attention off": {"attention_layers": 0},  # α stays, but is computed from the tokens themselves
        "residual off": {"residual": False},
    }
    params: AnchoredParams
    joint: Joint
    network: Attention | None = None
    weights: Matrix

    @classmethod
    def code(cls) -> tuple[type, ...]:
        """See `Head`."""
        return (cls, *Joint.code(), *Attention.code())

    @classmethod
    def fit_all(
        cls,
        features: Features,
        jobs: Sequence[TrainingJob],
        classes: int,
        compute: ComputeConfig,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """See `Head`. Seeds and trials of a search that learn from the same rows share one linear fusion."""
        heads = [cls(features.dims, classes, job.params) for job in jobs]
        known: dict[tuple[object, ...], Joint] = {}
        for job, head in zip(jobs, heads, strict=True):
            key = (id(job.train), id(job.validation), head.params.c)
            if key not in known:
                own = [job_for(Joint, job, head.params.linear)]
                known[key] = Joint.fit_all(features, own, classes, compute, lambda: None)[0][0]
            head.joint, head.weights = known[key], LINEAR_ALONE
        at = [i for i, job in enumerate(jobs) if job.validation is not None and heads[i].params.network]
        asked = [jobs[i] for i in at]
        trained = Attention.fit_all(features, asked, classes, compute, lambda: None) if at else []
        histories: list[list[Epoch]] = [[] for _ in heads]
        for i, (network, history) in zip(at, trained, strict=True):
            heads[i].weights, histories[i] = weigh(heads[i].joint, network, jobs[i].validation), history
            heads[i].network = network if heads[i].weights[1] > 0 else None
        for _ in jobs:
            tick()
        return list(zip(heads, histories, strict=True))

    def score(self, group: Features) -> Logits:
        """See `Head`."""
        parts = [self.joint.score(group), *([] if self.network is None else [self.network.score(group)])]
        own = self.weights[: len(parts)]
        values = sum(w * log_softmax(part.values) for w, part in zip(own, parts, strict=True))
        alpha = sum(w * part.weights for w, part in zip(own, parts, strict=True)) / max(float(own.sum()), 1e-6)
        return Logits(np.asarray(values, dtype=np.float32), np.asarray(alpha, dtype=np.float32))

    def tensors(self) -> dict[str, Matrix]:
        """See `Head`."""
        parts: dict[str, Head] = {"joint": self.joint} | ({} if self.network is None else {"network": self.network})
        named = {f"{name}.{key}": array for name, part in parts.items() for key, array in part.tensors().items()}
        return {"weights": self.weights, **named}

    def restore(self, tensors: Mapping[str, Matrix]) -> None:
        """See `Head`."""

        def own(name: str) -> dict[str, Matrix]:
            return {key.removeprefix(f"{name}."): a for key, a in tensors.items() if key.startswith(f"{name}.")}

        self.weights, self.network = tensors["weights"], None
        self.joint = Joint(self.dims, self.classes, self.params.linear)
        self.joint.restore(own("joint"))
        if own("network"):
            self.network = Attention(self.dims, self.classes, self.params)
            self.network.restore(own("network"))


def weigh(joint: Joint, network: Attention, validation: Examples | None) -> Matrix:
    """Return the weights a and b of linear fusion and the network, float32 (2,); (1, 0) without validation rows.

    Args:
        joint: linear fusion, whose last training rows are the validation rows.
        network: the network, with its logits of the validation rows at the best epoch.
        validation: the validation rows.
    """
    if validation is None or network.validation is None:
        return LINEAR_ALONE
    said = [joint.held_out[-len(validation.rows) :], network.validation]
    return best_weights(np.stack([log_softmax(one) for one in said]), validation.target, validation.weight)


def best_weights(log_p: Matrix, target: Matrix, weight: Matrix) -> Matrix:
    """Return the a, b >= 0 of the module's second formula, float32 (2,).

    Args:
        log_p: float32 (2, n, C), the log-probabilities of both parts.
        target: float32 (n, C), a distribution over the classes for each row.
        weight: float32 (n,), the weight of each row.

    Example:
        Linear fusion says nothing, and the network is right in all of two hundred clips:

        >>> truth = np.eye(2, dtype=np.float32)[np.arange(200) % 2]
        >>> log_p = np.log(np.stack([np.full((200, 2), 0.5), 0.8 * truth + 0.1]))
        >>> a, b = best_weights(log_p, truth, np.ones(200))
        >>> round(float(a), 2), bool(b > 1)
        (1.0, True)
    """
    parts, truth = log_p.astype(np.float64), target.astype(np.float64) * weight[:, None]

    def loss(w: FloatArray) -> tuple[float, FloatArray]:
        log, off = log_softmax(np.einsum("p,pnc->nc", w, parts)), w - LINEAR_ALONE
        slope = np.einsum("pnc,nc->p", parts, np.exp(log) * truth.sum(axis=1, keepdims=True) - truth)
        return float(PULL * (off**2).sum() - (log * truth).sum()), slope + 2 * PULL * off

    found = minimize(loss, LINEAR_ALONE.astype(np.float64), jac=True, bounds=[(0, None)] * 2, method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float32)
