"""`fusion-head`: a fusion head as one more source, only on clips that it has not learnt from.

It sees all clips at once and has no rows of single clips, so it is no Transform: `training/fusion_head_judge.py` runs
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from mer_pipeline.config.train_params import HeadName
from mer_pipeline.judges.judge import Family, JudgeParams
from mer_pipeline.tables.shards import ShardParams


class FusionHeadParams(JudgeParams):
    """A fusion head, trained for this, only on clips that it has not learnt from."""

    is_head: ClassVar[bool] = True

    input: Literal["features"]  # of the modalities that `train` reads
    family: Family = "own"  # whom it is not independent of
    head: HeadName = "logreg"  # which one; it is trained as `train` says


@dataclass(frozen=True)
class FusionHead:
    """The judge.

    Attributes:
        Params: the class of its section of params.yaml.
        name: its key there.
        params: which head, and when it abstains; its scores are the mean of the softmax over the seeds.
        shards: of its table.
    """

    Params: ClassVar = FusionHeadParams

    name: str
    params: FusionHeadParams
    shards: ShardParams
