"""The heads that learn by themselves, by the name that params.yaml calls them; an ensemble is made of some of them."""

from mer_pipeline.heads.base import Head
from mer_pipeline.heads.concat import Concat
from mer_pipeline.heads.ecmf import Ecmf
from mer_pipeline.heads.gated import Gated
from mer_pipeline.heads.logreg import LogReg
from mer_pipeline.heads.mean_logits import MeanLogits
from mer_pipeline.heads.mertools import Mertools
from mer_pipeline.train_params import HeadName

PARTS: dict[HeadName, type[Head]] = {
    "ecmf": Ecmf,
    "mertools": Mertools,
    "concat": Concat,
    "gated": Gated,
    "mean-logits": MeanLogits,
    "logreg": LogReg,
}
