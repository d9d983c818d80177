"""Load the feature tables of chosen encoders as one matrix per modality and one mask, for given clips.

An absent vector is not a zero vector: if a clip's row is missing, not valid or null, `mask` is false there and the
values in `x` have no meaning. Rows are matched to clips by id, never by position.

Several modalities may be merged into one by putting their columns side by side. A clip has the merged modality if it
has any of its parts. The columns of a part that the clip lacks are NaN, and `Scaler` replaces them by the mean; zeros
would be taken for measured values.
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
    """The features of n clips in M modalities.

    Attributes:
        names: the names of the M modalities (encoders), in the order of the modality tokens.
        x: one float32 matrix (n, D_m) per modality m; zeros where the mask is false, NaN where a part of a merged
            modality is absent.
        mask: bool (n, M), true where the clip has the modality.
    """

    names: tuple[str, ...]
    x: tuple[Matrix, ...]
    mask: Mask

    def __len__(self) -> int:
        """Return the number of clips, n."""
        return len(self.mask)

    @property
    def dims(self) -> tuple[int, ...]:
        """The number of columns D_m of each modality."""
        return tuple(matrix.shape[1] for matrix in self.x)

    def take(self, rows: Indices) -> Features:
        """Return the features of some clips, given by their indices, in that order."""
        return Features(self.names, tuple(matrix[rows] for matrix in self.x), self.mask[rows])

    def and_(self, other: Features) -> Features:
        """Return these clips followed by others with the same modalities."""
        x = tuple(np.concatenate(pair) for pair in zip(self.x, other.x, strict=True))
        return Features(self.names, x, np.concatenate([self.mask, other.mask]))

    def only(self, name: str) -> Features:
        """Return the features of one modality."""
        return self.select((name,))

    def select(self, names: Sequence[str]) -> Features:
        """Return the features of some modalities, in the order of `names`."""
        at = [self.names.index(name) for name in names]
        return Features(tuple(names), tuple(self.x[m] for m in at), self.mask[:, at])

    def merged(self, names: Sequence[str], into: str) -> Features:
        """Return the features with several modalities merged into one.

        Args:
            names: the modalities to merge; their columns keep the order of the modality tokens. If there are none,
                nothing changes.
            into: the name of the merged modality, which stands where the first of its parts stood.
        """
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
    """Return the names of the modalities after `Features.merged`.

    Example:
        >>> merged_names(["face", "audio", "text"], ["audio", "text"], "speech")
        ('face', 'speech')
    """
    return tuple(dict.fromkeys(into if name in names else name for name in all_names))


def load_features(root: Path, names: Sequence[str], clip_ids: Sequence[str]) -> Features:
    """Read the features of some clips from the folders `root/NAME/`. Other folders in `root` are never read.

    Args:
        root: the folder of all features.
        names: the encoders, in the order of the modality tokens.
        clip_ids: the clips, in the order of the rows.

    Raises:
        StageError: a folder has no shards, its vectors do not have one fixed length, or a value is not finite.
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
