"""Judges: transforms whose row is a distribution over the classes.

    scores  FixedSizeList<float32>[classes], not negative, sums to 1
    label   the class with most; null where the judge abstains although it has scores

Where there is nothing to judge (no face, silence, no answer) the row is not valid and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from mer_pipeline.clips import Row
from mer_pipeline.errors import BadInput
from mer_pipeline.section import Fraction, Section, below_data
from mer_pipeline.train_params import HeadName
from mer_pipeline.transform import Source, Transform

Item = TypeVar("Item")
Floats = npt.NDArray[np.floating]


# Sources of one family are not independent of each other (labels/votes.py).
# Any name will do: human, text-llm, audio, face, scene and own are those that the pipeline gives by itself.
Family = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
JudgeKind = Literal["open-clip", "hf-image", "hf-audio", "llm-scores", "csv", "fusion-head"]


class JudgeParams(Section):
    """One judge: a source that gives every clip a distribution over the classes, or abstains."""

    kind: JudgeKind  # which code: docs/judges.md
    input: str  # what it reads below data/: frames, faces, audio, enriched, features; csv: the file's path there
    family: Family | None = None  # whom it is not independent of; by its kind and input where not given
    checkpoint: str | None = None  # open-clip, hf-image, hf-audio: dir:PATH, hf:org/name@rev, openclip:ARCH/TAG
    captions: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "face"  # open-clip: prompts/captions-NAME.tsv
    # hf-image, hf-audio: the checkpoint's labels to classes, null for one that has none; or the name of a known map
    map: str | dict[str, str | None] | None = None
    min_score: Fraction = 0.0  # abstain where no class has this much
    head: HeadName = "logreg"  # fusion-head

    @model_validator(mode="after")
    def _fits(self) -> JudgeParams:
        reads = JUDGE_INPUTS[self.kind]
        if reads and self.input not in reads:
            raise ValueError(f"kind '{self.kind}' reads {' or '.join(reads)}, not '{self.input}'")
        if self.kind == "csv":
            if below_data(self.input).suffix != ".csv":
                raise ValueError(f"'{self.input}' must be a .csv below data/, where DVC sees that it changes")
            if self.family is None:
                raise ValueError("kind 'csv' needs a family: whom the predictions are not independent of")
        if (self.kind in CHECKPOINT_JUDGES) != (self.checkpoint is not None):
            need = "needs a checkpoint (e.g. dir:models/name)" if self.checkpoint is None else "takes no checkpoint"
            raise ValueError(f"kind '{self.kind}' {need}")
        if (self.kind in MAPPED_JUDGES) != (self.map is not None):
            need = "needs a map from the checkpoint's labels to classes" if self.map is None else "takes no map"
            raise ValueError(f"kind '{self.kind}' {need}")
        return self

    @property
    def home(self) -> Family:
        """The family, given or implied."""
        implied: dict[str, Family] = {"faces": "face", "frames": "scene", "audio": "audio", "enriched": "text-llm"}
        return self.family or implied.get(self.input, "own")


JUDGE_INPUTS: dict[JudgeKind, tuple[str, ...]] = {
    "open-clip": ("frames", "faces"),
    "hf-image": ("frames", "faces"),
    "hf-audio": ("audio",),
    "llm-scores": ("enriched",),
    "csv": (),
    "fusion-head": ("features",),
}
CHECKPOINT_JUDGES = frozenset({"open-clip", "hf-image", "hf-audio"})
MAPPED_JUDGES = frozenset({"hf-image", "hf-audio"})


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
