"""The base of all judges: a judge is a transform whose row is a distribution over the classes.

    scores  FixedSizeList<float32>[classes], not negative, with sum 1
    label   the class with the highest score; null where the judge abstains although it has scores

A clip that can't be judged (no face, silence, no reply) has a row with `valid=false` and a reason.
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
# Any name is allowed; human, text-llm, audio, face, scene and own are the names that the pipeline sets by itself.
Family = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
IMPLIED: dict[str, Family] = {"faces": "face", "frames": "scene", "audio": "audio", "enriched": "text-llm"}


class JudgeParams(Section):
    """One judge: a source that gives every clip a distribution over the classes, or abstains. `kind` selects the kind
    of judge; each kind has further options of its own."""

    # Whether the votes are those of a fusion head, which is trained on the given labels. If so, its table has a row per
    # clip and held-out fold, and its votes can't support the pseudo-labels of another head.
    is_head: ClassVar[bool] = False
    # Whether it reads a language model's scores of the classes, which other kinds of enrichment don't give.
    reads_scores: ClassVar[bool] = False

    kind: str  # the kind of judge: docs/judges.md
    input: str  # the table that is read
    family: Family | None = None  # the family of its votes; if null, it follows from the input
    min_score: Fraction = 0.0  # abstain where no class has at least this score

    @model_validator(mode="after")
    def _has_home(self) -> JudgeParams:
        if self.family is None and self.input not in IMPLIED:
            raise ValueError(f"kind '{self.kind}' needs a family: whom its votes are not independent of")
        return self

    @property
    def home(self) -> Family:
        """The family of the judge's votes: the one in params.yaml, or the one that follows from its input."""
        return self.family or IMPLIED[self.input]


class ModelJudgeParams(JudgeParams):
    """A judge that loads a model."""

    checkpoint: Checkpoint  # dir:PATH, hf:org/name@rev, openclip:ARCH/TAG


JUDGE = Choice(JudgeParams, "kind", JUDGES)  # an entry under `judges` in params.yaml


class Judge(Transform[Item]):
    """The base class of all judges.

    Attributes:
        Params: the class of its section of params.yaml.

    Args:
        name: its key under `judges` in params.yaml.
        params: its section.
        classes: the classes, in order.
        sources: the tables that it reads, the first of which decides which clips there are. Without any, it reads the
            table that `input` names.
    """

    Params: type[JudgeParams] = JudgeParams

    def __init__(self, name: str, params: JudgeParams, classes: tuple[str, ...], *sources: Source) -> None:
        self.name = f"vote-{name}"
        # The family says how a vote counts, not what it is. A change of it must not recompute the votes.
        self.params: JudgeParams = params.model_copy(update={"family": None})
        self.classes = classes
        self.sources = sources or (Source(params.input, columns_of(params.input)),)
        self.schema = vote_schema(len(classes))

    def verdict(self, weights: Floats, *, abstains: bool = False) -> Row:
        """Return a row from one weight per class.

        Args:
            weights: (classes,), not negative, with any positive sum; they are divided by it.
            abstains: whether the judge abstains by a rule of its own. The label is then null, as it is where no class
                has `min_score`.

        Raises:
            BadInput: the weights have another shape, a negative or infinite value, or no positive sum.
        """
        weights = weights.astype(np.float64)
        total = weights.sum()
        if weights.shape != (len(self.classes),) or not np.isfinite(total) or (weights < 0).any() or total <= 0:
            raise BadInput(f"the judge gives no distribution over the {len(self.classes)} classes: {weights.tolist()}")
        scores = (weights / total).astype(np.float32)
        return {"scores": scores, "label": None if abstains else label_of(scores, self.params.min_score, self.classes)}


def make_judge(name: str, params: JudgeParams, classes: tuple[str, ...]) -> Judge[object]:
    """Return the judge that an entry under `judges` describes.

    Raises:
        CheckpointError: the files of its model are missing or not usable.
        ParamsError: its captions or its label map do not fit the classes.
        DatasetError: its CSV does not have the format that outside.py describes.
    """
    return JUDGES.load(params.kind)(name, params, classes)


def vote_schema(classes: int) -> pa.Schema:
    """Return the schema of the value columns of a judge's table."""
    return pa.schema([pa.field("scores", pa.list_(pa.float32(), classes)), pa.field("label", pa.string())])


def label_of(scores: Floats, min_score: float, classes: Sequence[str]) -> str | None:
    """Return the class with the highest score, or None if it has less than `min_score` or there is a tie.

    In a tie the judge abstains, because the order of the classes must not decide.

    Example:
        >>> label_of(np.array([0.2, 0.5, 0.3]), 0.4, ("joy", "sad", "angry"))
        'sad'
        >>> label_of(np.array([0.4, 0.4, 0.2]), 0.0, ("joy", "sad", "angry")) is None
        True
    """
    best = np.flatnonzero(scores == scores.max())
    return None if len(best) > 1 or float(scores[best[0]]) < min_score else classes[int(best[0])]


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Return the softmax along the last axis, in float64."""
    values: npt.NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    shares: npt.NDArray[np.float64] = values / values.sum(axis=-1, keepdims=True)
    return shares
