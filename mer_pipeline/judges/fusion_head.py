"""The judge `fusion-head`: a fusion head that votes on clips that it has not learnt from.

A head is trained on all clips at once, so its votes can't be computed clip by clip as a `Transform` does. The module
`training/fusion_head_judge.py` runs it instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from mer_pipeline.config.train_params import HeadName
from mer_pipeline.judges.judge import Family, JudgeParams
from mer_pipeline.tables.shards import ShardParams


class FusionHeadParams(JudgeParams):
    """A fusion head that is trained for this purpose and votes only on clips that it has not learnt from."""

    is_head: ClassVar[bool] = True

    input: Literal["features"]  # the features of the modalities that `train` reads
    family: Family = "own"  # the family of its votes
    head: HeadName = "logreg"  # the head; it is trained with the settings of `train`


@dataclass(frozen=True)
class FusionHead:
    """A fusion-head judge. Its scores are the mean of the members' probabilities over the seeds.

    Attributes:
        Params: the class of its section of params.yaml.
        name: its key under `judges` in params.yaml.
        params: its section: the head, and when it abstains.
        shards: the settings for the shards of its table.
    """

    Params: ClassVar = FusionHeadParams

    name: str
    params: FusionHeadParams
    shards: ShardParams
