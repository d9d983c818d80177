"""Features for whoever uses them elsewhere: `mer_pipeline.load("voice")`, a table or a matrix.

It reads `data/features/NAME/` and writes nothing. Absent is not zero: a clip without that modality keeps its row,
with `valid` false in the table and `mask` false beside the matrix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from mer_pipeline.base.errors import StageError, UsageError, did_you_mean
from mer_pipeline.config.project import Project
from mer_pipeline.tables.shards import read_folder


class FeatureMatrix(NamedTuple):
    """n clips as one matrix.

    Attributes:
        ids: n clip ids, sorted.
        matrix: float32 (n, dimensions), writable; zeros where the mask is false, and they mean nothing.
        mask: bool (n,), true where the clip has the modality.
    """

    ids: list[str]
    matrix: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]


@overload
def load(name: str, *, matrix: Literal[False] = False, root: str | Path = ".") -> pl.DataFrame: ...
@overload
def load(name: str, *, matrix: Literal[True], root: str | Path = ".") -> FeatureMatrix: ...
def load(name: str, *, matrix: bool = False, root: str | Path = ".") -> pl.DataFrame | FeatureMatrix:
    """The features of one encoder, one row per clip, sorted by `clip_id`.

    Args:
        name: of an encoder in params.yaml, which is a folder in `data/features/`.
        matrix: give ids, a float32 matrix (clips, dimensions) and a mask instead of a table. Absent is not zero: a
            clip that has no such modality is a row of zeros whose mask is false. Use the mask.
        root: the project's folder.

    Returns:
        A polars table with the columns clip_id, vector, valid, reason, digest and input_digest; or a FeatureMatrix.

    Raises:
        UsageError: there are no such features; says which there are.
        StageError: a shard is torn, or is no table of features.
    """
    folder = _folder(Project(Path(root)).features, name)
    table = read_folder(folder)
    missing = {"clip_id", "vector", "valid"} - set(table.schema.names)
    if missing or not pa.types.is_fixed_size_list(table.schema.field("vector").type):
        what = f"no column {' and '.join(sorted(missing))}" if missing else "vectors of no fixed length"
        raise StageError(f"{folder} is no table of features ({what}); make it again with `dvc repro`")
    frame = pl.DataFrame(pl.from_arrow(table)).sort("clip_id")
    return _matrix(frame) if matrix else frame


def _folder(features: Path, name: str) -> Path:
    """The folder of one encoder; never one outside of `features`, whatever the name."""
    there = sorted({part.parent.name for part in features.glob("*/part-*.parquet")})
    if not there:
        raise UsageError(
            f"there are no features in {features}; make them with `dvc repro`, or give the project as root"
        )
    if name not in there:
        hint = did_you_mean(name, there)
        listed = "" if "known:" in hint else f"; there are {', '.join(there)}"
        raise UsageError(f"no features '{name}' in {features}{hint}{listed}")
    return features / name


def _matrix(frame: pl.DataFrame) -> FeatureMatrix:
    """A table of features as ids, matrix and mask."""
    kind = frame.schema["vector"]
    assert isinstance(kind, pl.Array)
    mask = (frame["valid"] & frame["vector"].is_not_null()).to_numpy()
    matrix = np.zeros((len(frame), kind.size), dtype=np.float32)
    matrix[mask] = frame["vector"].filter(mask).to_numpy()
    return FeatureMatrix(frame["clip_id"].to_list(), matrix, mask)
