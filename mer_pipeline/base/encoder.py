"""Encoders: transforms whose row is a vector.

Every encoder gives one utterance vector per clip (`vector`, FixedSizeList of float16 or float32), and
where the params ask for it the vectors before pooling over time (`sequence`).
"""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import BadInput, ParamsError, did_you_mean
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.choice import Choice
from mer_pipeline.config.components import ENCODERS
from mer_pipeline.config.section import Section
from mer_pipeline.models.checkpoint import Checkpoint

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
    """One encoder: `family` says which code, `input` what it reads. Each family has options of its own besides."""

    family: str  # which code: docs/encoders.md
    input: str  # the table that is read
    dtype: Literal["float16", "float32"] = "float32"  # of the stored vectors
    frame_level: bool = False  # keep the vectors before pooling over time as well


class PooledParams(EncoderParams):
    """One encoder whose vectors over time are averaged."""

    std: bool = False  # append the standard deviation over time to the mean


class ModelParams(PooledParams):
    """One encoder that loads a model."""

    checkpoint: Checkpoint  # dir:PATH, hf:org/name@rev, openclip:ARCH/TAG, facenet:NAME


ENCODER = Choice(EncoderParams, "family", ENCODERS)  # an entry under `encoders` in params.yaml


def columns_of(table: str) -> tuple[str, ...]:
    """The columns that a table offers to an encoder or a judge.

    Raises:
        ParamsError: there is no such table.
    """
    if table not in COLUMNS:
        raise ParamsError(f"there is no table '{table}' to read{did_you_mean(table, COLUMNS)}")
    return COLUMNS[table]


class Encoder(Transform[Item]):
    """Base of all encoders.

    Attributes:
        Params: the class of its section of params.yaml.

    Args:
        name: its key under `encoders` in params.yaml.
        params: its section.
        dim: length of one vector.
        sources: what it reads, where that is not the one table that `input` names.
        deviation: the row's vector is twice as long: the standard deviation over time is appended.
    """

    Params: type[EncoderParams] = EncoderParams

    def __init__(self, name: str, params: EncoderParams, dim: int, *sources: Source, deviation: bool = False) -> None:
        self.name = f"embed-{name}"
        self.params: EncoderParams = params
        self.sources = sources or (Source(params.input, columns_of(params.input)),)
        kind = pa.float16() if params.dtype == "float16" else pa.float32()
        fields = [pa.field("vector", pa.list_(kind, dim * (1 + deviation)))]
        if params.frame_level:
            fields.append(pa.field("sequence", pa.list_(pa.list_(kind, dim))))
        self.schema = pa.schema(fields)

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


class PooledEncoder(Encoder[Item]):
    """Base of encoders that give a vector per picture, step or word, and average them; `Params` has `std`."""

    params: PooledParams

    def __init__(self, name: str, params: PooledParams, dim: int, *sources: Source) -> None:
        super().__init__(name, params, dim, *sources, deviation=params.std)

    def pooled(self, sequence: Vectors) -> Row:
        """A row from the vectors over time, (steps, dim) float32: their mean, and the deviation where asked for."""
        vector = sequence.mean(axis=0, dtype=np.float64)
        if self.params.std:
            vector = np.concatenate([vector, sequence.std(axis=0, dtype=np.float64)])
        return self.row(vector, sequence)


def make_encoder(name: str, params: EncoderParams) -> Encoder[object]:
    """The encoder that an entry describes.

    Raises:
        CheckpointError: its model's files are missing or unfit.
        DatasetError: external features are not as described.
    """
    return ENCODERS.load(params.family)(name, params)  # type: ignore[call-arg]  # a family knows its dim itself
