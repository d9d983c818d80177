"""The base classes of encoders, which are the transforms whose row is a vector.

Every encoder gives one vector per clip (`vector`, a FixedSizeList of float16 or float32). If the params ask for it, the
row also has the vectors before pooling over time (`sequence`) and when in the clip each of them is (`times`).
"""

from __future__ import annotations

from collections.abc import Sequence
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
Times = Sequence[float] | npt.NDArray[np.float64]

# The columns of each table that an encoder can read.
COLUMNS = {
    "frames": ("jpegs", "times"),
    "faces": ("crops", "times", "boxes", "landmarks", "coverage"),
    "audio": ("pcm",),
    "transcript": ("zh", "en"),
    "enriched": ("text",),
}


class EncoderParams(Section):
    """One encoder. `family` names its code, and `input` the table that it reads. Each family has further options."""

    family: str  # the code of the encoder (docs/encoders.md)
    input: str  # the table that is read
    dtype: Literal["float16", "float32"] = "float32"  # type of the stored values
    frame_level: bool = False  # also keep the vectors before pooling over time, and their times


class PooledParams(EncoderParams):
    """One encoder whose vectors over time are averaged."""

    std: bool = False  # append the standard deviation over time to the mean


class ModelParams(PooledParams):
    """One encoder that loads a model."""

    checkpoint: Checkpoint  # dir:PATH, hf:org/name@rev, openclip:ARCH/TAG, facenet:NAME


ENCODER = Choice(EncoderParams, "family", ENCODERS)  # an entry under `encoders` in params.yaml


def columns_of(table: str) -> tuple[str, ...]:
    """Return the columns of a table that an encoder or a judge can read.

    Raises:
        ParamsError: there is no such table.

    Example:
        >>> columns_of("transcript")
        ('zh', 'en')
    """
    if table not in COLUMNS:
        raise ParamsError(f"there is no table '{table}' to read{did_you_mean(table, COLUMNS)}")
    return COLUMNS[table]


class Encoder(Transform[Item]):
    """Base of all encoders.

    Attributes:
        Params: the class of the encoder's section of params.yaml.

    Args:
        name: the encoder's key under `encoders` in params.yaml.
        params: the encoder's section.
        dim: length of one vector before the deviation is appended.
        sources: the tables that it reads; if none are given, the one table that `input` names.
        deviation: whether the standard deviation over time is appended, which doubles the length of `vector`.
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
            fields.append(pa.field("times", pa.list_(pa.float64())))  # seconds since the clip's start, ascending
        self.schema = pa.schema(fields)

    def row(self, vector: npt.NDArray[np.floating], sequence: Vectors | None = None, times: Times | None = None) -> Row:
        """Return a row from a vector that is already pooled, with all values rounded to the stored dtype.

        Args:
            vector: (dim,), or (2 · dim,) with the deviation.
            sequence: (steps, dim), kept only if `frame_level` is set; None: `vector` is the one step.
            times: (steps,), when each step is, in seconds since the clip's start: that of a picture, and the middle of
                a piece of sound. They are kept only if `frame_level` is set. None: the steps have no times, as words.

        Raises:
            BadInput: a value of `vector` is not finite, or is too large for the stored dtype.
            ValueError: there are more or fewer times than steps.
        """
        count = 1 if sequence is None else len(sequence)
        if times is not None and len(times) != count:
            raise ValueError(f"there are {len(times)} times of {count} steps")
        dtype = np.float16 if self.params.dtype == "float16" else np.float32
        with np.errstate(over="ignore"):
            row: dict[str, object] = {"vector": (stored := vector.astype(dtype))}
        if not np.isfinite(stored).all():
            raise BadInput(f"the encoder gives a value that {self.params.dtype} cannot hold (infinite or not a number)")
        if self.params.frame_level:
            steps = vector[None] if sequence is None else sequence
            row["sequence"] = steps.astype(dtype)
            row["times"] = None if times is None else np.asarray(times, np.float64)
        return row


class PooledEncoder(Encoder[Item]):
    """Base of encoders that compute a vector per picture, time step or word, and average these vectors."""

    params: PooledParams

    def __init__(self, name: str, params: PooledParams, dim: int, *sources: Source) -> None:
        super().__init__(name, params, dim, *sources, deviation=params.std)

    def pooled(self, sequence: Vectors, times: Times | None = None) -> Row:
        """Return a row from the vectors over time: their mean and, if `std` is set, their standard deviation.

        The deviation is that of the population (division by the number of steps).

        Args:
            sequence: (steps, dim) float32.
            times: (steps,), as `row`.

        Raises:
            BadInput, ValueError: as `row`.
        """
        vector = sequence.mean(axis=0, dtype=np.float64)
        if self.params.std:
            vector = np.concatenate([vector, sequence.std(axis=0, dtype=np.float64)])
        return self.row(vector, sequence, times)


def make_encoder(name: str, params: EncoderParams) -> Encoder[object]:
    """Make the encoder that an entry under `encoders` in params.yaml describes.

    Args:
        name: the key of the entry.
        params: the entry.

    Raises:
        CheckpointError: the model's files are missing or do not fit the family.
        DatasetError: the external features do not have the form that the entry describes.
    """
    return ENCODERS.load(params.family)(name, params)  # type: ignore[call-arg]  # a family knows its dim itself
