"""Load features for use outside of the pipeline: `mer_pipeline.load("voice")` gives a table or a matrix, and
`mer_pipeline.load_sequences("voice")` the vectors over time.

The module reads `data/features/NAME/` and writes nothing. A clip without the modality keeps its row, which is not the
same as a row of zeros: `valid` is false in the table, and `mask` is false beside the matrix.
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
    """The features of n clips as one matrix.

    Attributes:
        ids: the n ids of the clips, sorted.
        matrix: float32 (n, dimensions), writable. Rows whose mask is false are zeros without a meaning.
        mask: bool (n,), true where the clip has the modality.
    """

    ids: list[str]
    matrix: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]


class FeatureSequence(NamedTuple):
    """The features of one clip before they are pooled over time.

    Attributes:
        vectors: float32 (steps, dimensions).
        times: float64 (steps,), in seconds since the clip's start; None where the steps have no times, as words.
    """

    vectors: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64] | None


@overload
def load(name: str, *, matrix: Literal[False] = False, root: str | Path = ".") -> pl.DataFrame: ...
@overload
def load(name: str, *, matrix: Literal[True], root: str | Path = ".") -> FeatureMatrix: ...
def load(name: str, *, matrix: bool = False, root: str | Path = ".") -> pl.DataFrame | FeatureMatrix:
    """Load the features of one encoder, with one row per clip, sorted by `clip_id`.

    Args:
        name: the name of an encoder in params.yaml, which is also a folder in `data/features/`.
        matrix: whether to return a FeatureMatrix instead of a table. In a FeatureMatrix, a clip without the modality is
            a row of zeros whose mask is false, so the mask must be used.
        root: the folder of the project.

    Returns:
        A polars table with the columns clip_id, vector, valid, reason, digest and input_digest, with `frame_level` also
        sequence and times; or a FeatureMatrix.

    Raises:
        UsageError: there are no features of this name. The message says which ones there are.
        StageError: a shard can't be read, or is no table of features.

    Example:
        Take the vectors of all clips that have the modality::

            ids, matrix, mask = mer_pipeline.load("voice", matrix=True)
            vectors = matrix[mask]
    """
    frame = _table(_folder(Project(Path(root)).features, name))
    return _matrix(frame) if matrix else frame


def load_sequences(name: str, *, root: str | Path = ".") -> dict[str, FeatureSequence]:
    """Load the features of one encoder before they are pooled over time.

    Args:
        name: the name of an encoder in params.yaml that has `frame_level: true`.
        root: the folder of the project.

    Returns:
        For each clip that has the modality, by `clip_id` and sorted by it, its vectors and their times.

    Raises:
        UsageError: as `load`; or the features were made without `frame_level`.
        StageError: as `load`.
    """
    folder = _folder(Project(Path(root)).features, name)
    frame = _table(folder)
    if not {"sequence", "times"} <= set(frame.columns):
        raise UsageError(
            f"{folder} has no vectors over time; set encoders.{name}.frame_level to true in params.yaml and run "
            "`dvc repro`"
        )
    found = frame.filter("valid").select("clip_id", "sequence", "times")
    return {
        clip: FeatureSequence(np.array(vectors, np.float32), None if times is None else np.array(times, np.float64))
        for clip, vectors, times in found.iter_rows()
    }


def _table(folder: Path) -> pl.DataFrame:
    table = read_folder(folder)
    missing = {"clip_id", "vector", "valid"} - set(table.schema.names)
    if missing or not pa.types.is_fixed_size_list(table.schema.field("vector").type):
        what = f"no column {' and '.join(sorted(missing))}" if missing else "vectors of no fixed length"
        raise StageError(f"{folder} is no table of features ({what}); make it again with `dvc repro`")
    return pl.DataFrame(pl.from_arrow(table)).sort("clip_id")


def _folder(features: Path, name: str) -> Path:
    """Return the folder of one encoder, which is never outside of `features`, whatever the name is.

    Raises:
        UsageError: there are no features of this name.
    """
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
    """Return a table of features as ids, matrix and mask."""
    kind = frame.schema["vector"]
    assert isinstance(kind, pl.Array)
    mask = (frame["valid"] & frame["vector"].is_not_null()).to_numpy()
    matrix = np.zeros((len(frame), kind.size), dtype=np.float32)
    matrix[mask] = frame["vector"].filter(mask).to_numpy()
    return FeatureMatrix(frame["clip_id"].to_list(), matrix, mask)
