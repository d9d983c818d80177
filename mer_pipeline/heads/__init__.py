"""The fusion heads by the name that params.yaml calls them."""

from mer_pipeline.heads.base import Head
from mer_pipeline.heads.ensemble import Ensemble
from mer_pipeline.heads.parts import PARTS
from mer_pipeline.train_params import HeadName

HEADS: dict[HeadName, type[Head]] = {**PARTS, "ensemble": Ensemble}
