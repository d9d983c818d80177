"""Judges: transforms whose row is a distribution over the classes.

    scores  FixedSizeList<float32>[classes], not negative, sums to 1
    label   the class with most; null where the judge abstains although it has scores

Where there is nothing to judge (no face, silence, no answer) the row is not valid and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from mer_pipeline.base.clips import Row
from mer_pipeline.base.encoder import columns_of
from mer_pipeline.base.errors import BadInput
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.choice import Choice
from mer_pipeline.config.components import JUDGES
from mer_pipeline.config.section import Fraction, Section
from mer_pipeline.models.checkpoint import Checkpoint

Item = TypeVar("Item")
Floats = npt.NDArray[np.floating]


# Sources of one family are not independent of each other (labels/votes.py).
# Any name will do: human, text-llm, audio, face, scene and own are those that the pipeline gives by itself.
Family = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
IMPLIED: dict[str, Family] = {"faces": "face", "frames": "scene", "audio": "audio", "enriched": "text-llm"}


class JudgeParams(Section):
    """One judge: a source that gives every clip a distribution over the classes, or abstains. `kind` says which code;
    each kind has options of its own besides."""

    # Its votes are those of a fusion head, which is trained on the given labels. So its table has a row per clip and
    # held-out fold, and it cannot bear out another head.
    is_head: ClassVar[bool] = False
    reads_scores: ClassVar[bool] = False  # of a language model: another enrichment gives none

    kind: str  # which code: docs/judges.md
    input: str  # the table that is read
    family: Family | None = None  # whom it is not independent of; by its input where not given
    min_score: Fraction = 0.0  # abstain where no class has this much

    @model_validator(mode="after")
    def _has_home(self) -> JudgeParams:
        if self.family is None and self.input not in IMPLIED:
            raise ValueError(f"kind '{self.kind}' needs a family: whom its votes are not independent of")
        return self

    @property
    def home(self) -> Family:
        """The family, given or implied."""
        return self.family or IMPLIED[self.input]


class ModelJudgeParams(JudgeParams):
    """A judge that loads a model."""

    checkpoint: Checkpoint  # dir:PATH, hf:org/name@rev, openclip:ARCH/TAG


JUDGE = Choice(JudgeParams, "kind", JUDGES)  # an entry under `judges` in params.yaml


class Judge(Transform[Item]):
    """Base of all judges.

    Attributes:
        Params: the class of its section of params.yaml.

    Args:
        name: its key under `judges` in params.yaml.
        params: its section.
        classes: in order.
        sources: what it reads, where that is not the one table that `input` names; the first decides which clips there
            are.
    """

    Params: type[JudgeParams] = JudgeParams

    def __init__(self, name: str, params: JudgeParams, classes: tuple[str, ...], *sources: Source) -> None:
        self.name = f"vote-{name}"
        # Its family says how a vote counts and not what it is: another one recomputes nothing.
        self.params: JudgeParams = params.model_copy(update={"family": None})
        self.classes = classes
        self.sources = sources or (Source(params.input, columns_of(params.input)),)
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


def make_judge(name: str, params: JudgeParams, classes: tuple[str, ...]) -> Judge[object]:
    """The judge that an entry describes.

    Raises:
        CheckpointError: its model's files are missing or unfit.
        ParamsError: its captions or its map do not fit the classes.
        DatasetError: its CSV is not as described.
    """
    return JUDGES.load(params.kind)(name, params, classes)


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
