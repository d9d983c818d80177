"""A network beside the linear late fusion of the same modalities: a residual from the features to the decision [ours].

    p(c | x) = 1/2 p_network(c | x) + 1/2 p_late(c | x)                 p_late: logreg.py, on the same labels

The network sees all modalities at once and can learn which to believe where they disagree. Late fusion has M opinions
and a weight for each: it needs far fewer labels, and wrong ones hardly mislead it. Trained as one, the network would
overfit first; so each learns by itself. `late_fusion: false` leaves the network alone.

So is it where late fusion evidently misleads it. That takes evidence: a mean seldom loses to its parts.
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
    """Options of a network beside late fusion."""

    late_fusion: bool = True  # the mean with linear late fusion, as logreg is, unless that misleads it; false: without
    late_fusion_c: Strengths = (1e-4, 1e-3, 1e-2, 1e-1)  # its candidates for the inverse regularisation

    @field_validator("late_fusion_c")
    @classmethod
    def _distinct(cls, c: tuple[float, ...]) -> tuple[float, ...]:
        return distinct(c)

    @property
    def late(self) -> LogRegParams:
        """Of the late fusion."""
        return LogRegParams(c=self.late_fusion_c)


class LateFused(Mean):
    """See the module; the history and the reported weights are the network's."""

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
        """See `Head`; seeds and trials of a search that learn the same rows share one late fusion."""
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
        """See `Mean`."""
        return weights["network"]


def misled(network: NetworkHead, late: LogReg, validation: Examples | None) -> bool:
    """Whether the network alone is evidently more often right than late fusion (McNemar 1947), and than their mean.

    It is asked of the validation rows, the last of those that late fusion has learnt since. Neither had learnt from
    them when it said this, but for choices: the network's epoch, and late fusion's strengths and weights of all rows.
    """
    if validation is None or network.validation is None:
        return False
    said = log_softmax(network.validation), log_softmax(late.held_out[-len(validation.rows) :])
    alone, beside, both = (log.argmax(axis=1) == validation.label for log in (*said, np.logaddexp(*said)))
    differ = int((alone != beside).sum())
    return bool(alone.sum() - beside.sum() > EVIDENT * differ**0.5 and alone.sum() > both.sum())
