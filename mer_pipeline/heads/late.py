"""The mean of a network and of linear late fusion of the same modalities: a residual from features to decision [ours].

    p(c | x) = 1/2 p_network(c | x) + 1/2 p_late(c | x)                 p_late: logreg.py, on the same labels

The network sees all modalities at once and can learn which of them to trust where they disagree. Late fusion has only
one classifier and one weight per modality: it needs far fewer labels, and wrong labels hardly mislead it. The two are
trained separately, because in joint training the network overfits first. With `late_fusion: false` the network is used
alone.

The network is also used alone where late fusion evidently makes it worse (`misled`). This needs strong evidence,
because a mean is seldom worse than its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import field_validator

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.config.section import distinct
from mer_pipeline.config.train_params import NetworkParams
from mer_pipeline.heads.base import Ablations, ComputeConfig, Epoch, Examples, Head, TrainingJob
from mer_pipeline.heads.inner import job_for
from mer_pipeline.heads.linear import log_softmax
from mer_pipeline.heads.logreg import LogReg, LogRegParams, Strengths
from mer_pipeline.heads.mean import Mean
from mer_pipeline.heads.network import NetworkHead

EVIDENT = 3  # standard errors


class LateFusedParams(NetworkParams):
    """Options of a network that is averaged with late fusion."""

    # the mean with linear late fusion (as `logreg`), unless that evidently misleads the network; false: without
    late_fusion: bool = True
    late_fusion_c: Strengths = (1e-4, 1e-3, 1e-2, 1e-1)  # candidates for the inverse regularisation of late fusion

    @field_validator("late_fusion_c")
    @classmethod
    def _distinct(cls, c: tuple[float, ...]) -> tuple[float, ...]:
        return distinct(c)

    @property
    def late(self) -> LogRegParams:
        """The options of the late fusion."""
        return LogRegParams(c=self.late_fusion_c)


class LateFused(Mean):
    """A network averaged with late fusion. The training history and the modality weights are the network's."""

    Params = LateFusedParams
    ablations: ClassVar[Ablations] = {"late fusion off": {"late_fusion": False}}
    searched = True
    network: ClassVar[type[NetworkHead]]
    params: LateFusedParams

    @classmethod
    def fit_all(
        cls,
        features: Features,
        jobs: Sequence[TrainingJob],
        classes: int,
        compute: ComputeConfig,
        tick: Callable[[], None],
    ) -> list[tuple[Self, list[Epoch]]]:
        """See `Head`. Seeds and trials of a search that learn from the same rows share one late fusion."""
        heads = [cls(features.dims, classes, job.params) for job in jobs]
        late: dict[tuple[object, ...], LogReg] = {}
        keys = [
            (id(one.train), id(one.validation), head.params.late_fusion_c)
            for one, head in zip(jobs, heads, strict=True)
        ]
        for key, job, head in zip(keys, jobs, heads, strict=True):
            if head.params.late_fusion and key not in late:
                own = [job_for(LogReg, job, head.params.late)]
                late[key] = LogReg.fit_all(features, own, classes, compute, lambda: None)[0][0]
        networks = cls.network.fit_all(features, jobs, classes, compute, tick)
        for key, job, head, (network, _) in zip(keys, jobs, heads, networks, strict=True):
            head.parts = {"network": network}
            if head.params.late_fusion and not misled(network, late[key], job.validation):
                head.parts["late"] = late[key]
        return [(head, history) for head, (_, history) in zip(heads, networks, strict=True)]

    def fresh(self) -> dict[str, Head]:
        """See `Mean`."""
        network = self.network(self.dims, self.classes, self.params)
        return {"network": network, "late": LogReg(self.dims, self.classes, self.params.late)}

    def share(self, weights: dict[str, Matrix]) -> Matrix:
        """Return the modality weights of the network."""
        return weights["network"]


def misled(network: NetworkHead, late: LogReg, validation: Examples | None) -> bool:
    """Return whether the network alone is evidently more often right than late fusion (McNemar 1947) and their mean.

    Both are compared on the validation rows, which are the last rows that late fusion learns from. The predictions
    come from models that have not learnt from these rows. Only choices depend on them: the network's best epoch, and
    the strengths and weights of late fusion, which are chosen on all rows.

    Args:
        network: the trained network.
        late: the trained late fusion.
        validation: the validation rows, or None; without them the answer is false.
    """
    if validation is None or network.validation is None:
        return False
    said = log_softmax(network.validation), log_softmax(late.held_out[-len(validation.rows) :])
    alone, beside, both = (log.argmax(axis=1) == validation.label for log in (*said, np.logaddexp(*said)))
    differ = int((alone != beside).sum())
    return bool(alone.sum() - beside.sum() > EVIDENT * differ**0.5 and alone.sum() > both.sum())
