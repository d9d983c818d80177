"""The feature tables of chosen encoders as one matrix and one mask per modality, for given clips.

Absent is not zero: a clip whose row is missing, not valid or null has `mask` false there, and what stands in
`x` means nothing. Indices are matched to clips by id, never by position.

Several may be merged into one modality: their columns side by side. A clip has it where it has any of its parts, and
the columns of a part that it lacks are NaN, which `Scaler` puts at the mean: their zeros would be values like others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mer_pipeline.base.errors import StageError
from mer_pipeline.tables.shards import read_folder

Matrix = NDArray[np.float32]
Mask = NDArray[np.bool_]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Features:
    """n clips seen through M modalities.

    Attributes:
        names: M encoder names, in token order.
        x: per modality float32 (n, D_m); zeros where the mask is false, NaN where a part of a merged one is absent.
        mask: bool (n, M), true where the clip has the modality.
    """

    names: tuple[str, ...]
    x: tuple[Matrix, ...]
    mask: Mask

    def __len__(self) -> int:
        """n."""
        return len(self.mask)

    @property
    def dims(self) -> tuple[int, ...]:
        """D of each modality."""
        return tuple(matrix.shape[1] for matrix in self.x)

    def take(self, rows: Indices) -> Features:
        """Some of the clips."""
        return Features(self.names, tuple(matrix[rows] for matrix in self.x), self.mask[rows])

    def only(self, name: str) -> Features:
        """One of the modalities."""
        return self.select((name,))

    def select(self, names: Sequence[str]) -> Features:
        """Some of the modalities, in this order."""
        at = [self.names.index(name) for name in names]
        return Features(tuple(names), tuple(self.x[m] for m in at), self.mask[:, at])

    def merged(self, names: Sequence[str], into: str) -> Features:
        """These modalities, in token order, as one that stands where the first of them stood; no names: no change."""
        if not names:
            return self
        parts = self.select([name for name in self.names if name in names])
        some: Mask = np.asarray(parts.mask.any(axis=1, keepdims=True))
        lacks = some & ~parts.mask
        x = [np.where(lacks[:, m : m + 1], np.float32("nan"), matrix) for m, matrix in enumerate(parts.x)]
        whole = Features(
            (*self.names, into), (*self.x, np.concatenate(x, axis=1)), np.concatenate([self.mask, some], axis=1)
        )
        return whole.select(merged_names(self.names, names, into))


def merged_names(all_names: Sequence[str], names: Sequence[str], into: str) -> tuple[str, ...]:
    """The modalities after `Features.merged`."""
    return tuple(dict.fromkeys(into if name in names else name for name in all_names))


def load_features(root: Path, names: Sequence[str], clip_ids: Sequence[str]) -> Features:
    """Read `root/NAME/` of exactly these encoders; other folders there are never looked at.

    Raises:
        StageError: a folder has no shards, has no vectors of one fixed length, or holds a value that
            is not finite.
    """
    loaded = [_load(root / name, clip_ids) for name in names]
    mask = np.stack([m for _, m in loaded], axis=1) if loaded else np.zeros((len(clip_ids), 0), dtype=bool)
    return Features(tuple(names), tuple(x for x, _ in loaded), mask)


def _load(folder: Path, clip_ids: Sequence[str]) -> tuple[Matrix, Mask]:
    table = read_folder(folder, ["clip_id", "vector", "valid"])
    kind = table.schema.field("vector").type
    if not pa.types.is_fixed_size_list(kind):
        raise StageError(f"{folder}: column 'vector' is {kind}, not a fixed number of floats; make it with `dvc repro`")
    table = table.filter(pc.and_(table["valid"], pc.is_valid(table["vector"])))
    flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = flat.reshape(-1, kind.list_size).astype(np.float32)
    found = table["clip_id"].to_pylist()
    if not (finite := np.isfinite(vectors).all(axis=1)).all():
        broken = found[int(np.argmin(finite))]
        raise StageError(
            f"{folder}: the vector of clip '{broken}' is not finite; check what made it, or leave the clip out"
        )

    place = {clip_id: i for i, clip_id in enumerate(found)}
    at = np.array([place.get(clip_id, -1) for clip_id in clip_ids], dtype=np.int64)
    mask = at >= 0
    x = np.zeros((len(clip_ids), kind.list_size), dtype=np.float32)
    x[mask] = vectors[at[mask]]
    return x, mask
