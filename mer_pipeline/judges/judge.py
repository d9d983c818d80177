"""Judges: transforms whose row is a distribution over the classes.

    scores  FixedSizeList<float32>[classes], not negative, sums to 1
    label   the class with most; null where the judge abstains although it has scores

Where there is nothing to judge (no face, silence, no answer) the row is not valid and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mer_pipeline.clips import Row
from mer_pipeline.errors import BadInput
from mer_pipeline.params import JudgeParams
from mer_pipeline.transform import Source, Transform

Item = TypeVar("Item")
Floats = npt.NDArray[np.floating]


class Judge(Transform[Item]):
    """Base of all judges.

    Args:
        name: its key under `judges` in params.yaml.
        params: its section.
        classes: in order.
        sources: what it reads; the first decides which clips there are.
    """

    def __init__(self, name: str, params: JudgeParams, classes: tuple[str, ...], *sources: Source) -> None:
        self.name = f"vote-{name}"
        # Its family says how a vote counts and not what it is: another one recomputes nothing.
        self.params: JudgeParams = params.model_copy(update={"family": None})
        self.classes = classes
        self.sources = sources
        self.schema = vote_schema(len(classes))

    def verdict(self, weights: Floats, *, abstains: bool = False) -> Row:
        """A row from a weight per class, (classes,).

        The label is null where the judge abstains by its own rule too.

        Raises:
            BadInput: the weights are no distribution, whatever they are divided by.
        """
        weights = weights.astype(np.float64)
        total = weights.sum()
        if weights.shape != (len(self.classes),) or not np.isfinite(total) or (weights < 0).any() or total <= 0:
            raise BadInput(f"the judge gives no distribution over the {len(self.classes)} classes: {weights.tolist()}")
        scores = (weights / total).astype(np.float32)
        return {"scores": scores, "label": None if abstains else label_of(scores, self.params.min_score, self.classes)}


def vote_schema(classes: int) -> pa.Schema:
    """The value columns of a judge's table."""
    return pa.schema([pa.field("scores", pa.list_(pa.float32(), classes)), pa.field("label", pa.string())])


def label_of(scores: Floats, min_score: float, classes: Sequence[str]) -> str | None:
    """The class with most; None where it has less than `min_score`, and in a tie: no order of classes must decide."""
    best = np.flatnonzero(scores == scores.max())
    return None if len(best) > 1 or float(scores[best[0]]) < min_score else classes[int(best[0])]


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Along the last axis, in double precision."""
    values: npt.NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    shares: npt.NDArray[np.float64] = values / values.sum(axis=-1, keepdims=True)
    return shares
