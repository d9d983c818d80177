"""Encoders: transforms whose row is a vector.

Every encoder gives one utterance vector per clip (`vector`, FixedSizeList of float16 or float32), and
where the params ask for it the vectors before pooling over time (`sequence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mer_pipeline.clips import Row
from mer_pipeline.errors import BadInput
from mer_pipeline.models.checkpoint import resolve, value_files
from mer_pipeline.params import EncoderParams
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
