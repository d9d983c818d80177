"""Encoders: transforms whose row is a vector.

Every encoder gives one utterance vector per clip (`vector`, FixedSizeList of float16 or float32), and
where the params ask for it the vectors before pooling over time (`sequence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from mer_pipeline.clips import Row
from mer_pipeline.errors import BadInput
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.project import DATA, WRITTEN
from mer_pipeline.section import Count, Section, below_data
from mer_pipeline.transform import Source, Transform

Item = TypeVar("Item")
Vectors = npt.NDArray[np.float32]

# The columns that an encoder's input table offers it.
COLUMNS = {
    "frames": ("jpegs", "times"),
    "faces": ("crops", "times", "boxes", "landmarks", "coverage"),
    "audio": ("pcm",),
    "transcript": ("zh", "en"),
    "enriched": ("text",),
}


class EncoderParams(Section):
    """One encoder: `family` says which code, `input` what it reads."""

    # which code: docs/encoders.md
    family: Literal[
        "appearance",
        "face-geometry",
        "logmel",
        "char-ngram",
        "open-clip",
        "facenet",
        "hf-vision",
        "hf-speech",
        "hf-text",
        "file",
    ]
    # the table that is read; a family reads one or two of them; file: a path below data/ (a folder of .npy, a .parquet
    # or a .csv)
    input: str
    dtype: Literal["float16", "float32"] = "float32"  # of the stored vectors
    frame_level: bool = False  # keep the vectors before pooling over time as well
    checkpoint: str | None = None  # dir:PATH, hf:org/name@rev, openclip:ARCH/TAG, facenet:NAME
    # sum of the last n hidden layers, or of these (0 = embeddings)
    layers: Count | Annotated[tuple[int, ...], Field(min_length=1)] = 1
    std: bool = False  # append the standard deviation over time to the mean
    language: Literal["zh", "en"] = "zh"  # char-ngram and hf-text on `transcript`; the other when it is empty
    dim: Count = 512  # char-ngram: length of the hashed vector
    max_tokens: Count = 512  # hf-text: longer texts are cut
    chunk_seconds: Annotated[float, Field(gt=0.1)] = 20.0  # hf-speech: longer clips are cut into equal chunks
    # file: the list column of a .parquet (its only one where not given); what the columns of a .csv begin with (all)
    column: str | None = None
    zeros_absent: bool = False  # file: a vector of zeros alone stands for nothing, as MERTools writes what is absent

    @model_validator(mode="after")
    def _fits(self) -> EncoderParams:
        reads = FAMILY_INPUTS[self.family]
        if self.family == "file":
            _check_brought(self.input)
        elif self.input not in reads:
            raise ValueError(f"family '{self.family}' reads {' or '.join(reads)}, not '{self.input}'")
        if (self.family in CHECKPOINT_FAMILIES) != (self.checkpoint is not None):
            need = "needs a checkpoint (e.g. dir:models/name)" if self.checkpoint is None else "takes no checkpoint"
            raise ValueError(f"family '{self.family}' {need}")
        if self.std and self.family in WHOLE_CLIP_FAMILIES:
            raise ValueError(f"family '{self.family}' describes a clip as a whole: there is no `std` over time")
        return self


FAMILY_INPUTS: dict[str, tuple[str, ...]] = {
    "appearance": ("frames", "faces"),
    "face-geometry": ("faces",),
    "logmel": ("audio",),
    "char-ngram": ("transcript", "enriched"),
    "open-clip": ("frames", "faces"),
    "facenet": ("faces",),
    "hf-vision": ("frames", "faces"),
    "hf-speech": ("audio",),
    "hf-text": ("transcript", "enriched"),
    "file": (),
}
WHOLE_CLIP_FAMILIES = frozenset({"logmel", "char-ngram"})
CHECKPOINT_FAMILIES = frozenset({"open-clip", "facenet", "hf-vision", "hf-speech", "hf-text"})


def _check_brought(name: str) -> None:
    first = below_data(name).parts[0]
    if first in WRITTEN:
        raise ValueError(
            f"{DATA}/{first} is written by the pipeline: put '{name}' elsewhere, say below {DATA}/external/"
        )


class Encoder(Transform[Item]):
    """Base of all encoders.

    Args:
        name: its key under `encoders` in params.yaml.
        params: its section.
        dim: length of one vector before the standard deviation, if asked for, is appended.
        sources: what it reads, where that is not the one table that `input` names.
    """

    def __init__(self, name: str, params: EncoderParams, dim: int, *sources: Source) -> None:
        self.name = f"embed-{name}"
        self.params: EncoderParams = params
        self.sources = sources or (Source(params.input, COLUMNS[params.input]),)
        kind = pa.float16() if params.dtype == "float16" else pa.float32()
        fields = [pa.field("vector", pa.list_(kind, dim * (1 + params.std)))]
        if params.frame_level:
            fields.append(pa.field("sequence", pa.list_(pa.list_(kind, dim))))
        self.schema = pa.schema(fields)

    def files(self) -> Sequence[Path]:
        """Weights, configuration and tokeniser of its checkpoint, if it has one."""
        return () if self.params.checkpoint is None else value_files(resolve(self.params.checkpoint))

    def pooled(self, sequence: Vectors) -> Row:
        """A row from the vectors over time, (steps, dim) float32: their mean, and the deviation where asked for."""
        vector = sequence.mean(axis=0, dtype=np.float64)
        if self.params.std:
            vector = np.concatenate([vector, sequence.std(axis=0, dtype=np.float64)])
        return self.row(vector, sequence)

    def row(self, vector: npt.NDArray[np.floating], sequence: Vectors | None = None) -> Row:
        """A row from a vector that is pooled already, rounded to the stored type.

        Raises:
            BadInput: a value is not finite, or too large for the stored type.
        """
        dtype = np.float16 if self.params.dtype == "float16" else np.float32
        with np.errstate(over="ignore"):
            row: dict[str, object] = {"vector": (stored := vector.astype(dtype))}
        if not np.isfinite(stored).all():
            raise BadInput(f"the encoder gives a value that {self.params.dtype} cannot hold (infinite or not a number)")
        if self.params.frame_level:
            steps = vector[None] if sequence is None else sequence
            row["sequence"] = steps.astype(dtype)
        return row
