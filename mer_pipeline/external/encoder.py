"""`file`: an encoder that reads external features, vectors that were made elsewhere.

    (D,)      the vector of a clip
    (T, D)    a vector for each of T steps; the clip's vector is their mean, with the standard deviation on request

A step whose values are all NaN is absent and does not enter the mean. With `zeros_absent: true` the same holds for a
step whose values are all zero, because common tools write zeros where they found nothing. A clip without a file,
without a row or without any step is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import field_validator

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.csv_files import note_unmatched
from mer_pipeline.base.encoder import PooledEncoder, PooledParams
from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.base.transform import ExternalTable, Source
from mer_pipeline.config.project import DATA, WRITTEN
from mer_pipeline.config.section import below_data
from mer_pipeline.external.npy import read_array
from mer_pipeline.external.tables import length_of, names_of, read_place

Steps = npt.NDArray[np.float64]


class FromFileParams(PooledParams):
    """Vectors that were made elsewhere: [features.md](features.md#bringing-your-own)."""

    input: str  # a path below data/: a folder of .npy, a .parquet or a .csv
    # .parquet: name of the column of lists (null: the only one); .csv: what the columns' names begin with (null: all)
    column: str | None = None
    zeros_absent: bool = False  # a vector of zeros means that there is none, as MERTools writes it

    @field_validator("input")
    @classmethod
    def _is_external(cls, name: str) -> str:
        first = below_data(name).parts[0]
        if first in WRITTEN:
            raise ValueError(
                f"{DATA}/{first} is written by the pipeline: put '{name}' elsewhere, say below {DATA}/external/"
            )
        return name


class FromFile(PooledEncoder[Steps]):
    """An encoder that reads vectors from a table or a folder. An item is (steps, D) float64.

    Raises:
        DatasetError: if the table or folder is not as `tables.py` describes it.
    """

    Params = FromFileParams
    params: FromFileParams

    def __init__(self, name: str, params: FromFileParams) -> None:
        place = DATA / params.input
        length = length_of(place, params.column)
        where = "path" if place.is_dir() else "vector"
        mine = ExternalTable(params.input, ("content",), (where,), read=partial(read_place, column=params.column))
        super().__init__(name, params, length, Source("clips", ()), mine)
        self.length = length

    def note(self, clip_ids: Callable[[], Collection[str]]) -> str:
        """Say which names in the table or folder are unmatched; "" if all of them are clips.

        Raises:
            DatasetError: if no name is a clip.
        """
        place = DATA / self.params.input
        return note_unmatched(place, names_of(place), clip_ids())

    def prepare(self, clip: Clip) -> Steps:
        """Read the clip's steps, without those that are absent.

        Raises:
            Skip: if the clip has no vector.
            BadInput: if the file or its values are not as described.
            Transient: if the file was altered or removed since it was listed.
        """
        row = clip.need(self.params.input)
        if "path" in row:
            return self.steps(read_array(Path(str(row["path"])), row["content"]))
        if row["vector"] is None:
            raise Skip(f"no vector in {self.params.input}")
        return self.steps(np.array(row["vector"], np.float64))

    def steps(self, values: npt.NDArray[np.generic]) -> Steps:
        """Turn an array into steps, without those that are absent.

        Args:
            values: (D,) or (T, D).

        Returns:
            (steps, D) float64.

        Raises:
            Skip: if all steps are absent.
            BadInput: if D is not the length of the other vectors, a value is not finite, or there is only one vector
                and `std` is set.
        """
        if self.params.std and values.ndim == 1:
            raise BadInput("one vector, and `std` asks for the deviation over time; take it out of params.yaml")
        if values.shape[-1] != self.length:
            raise BadInput(f"a vector of {values.shape[-1]} numbers, where the others have {self.length}")
        steps = np.atleast_2d(values).astype(np.float64)
        there = ~np.isnan(steps).all(axis=1)
        if self.params.zeros_absent:
            there &= (steps != 0).any(axis=1)
        if not there.any():
            raise Skip("no step" if not len(steps) else "nothing but zeros or NaN")
        if not np.isfinite(steps[there]).all():
            raise BadInput("a value is not finite (infinite or not a number)")
        return steps[there]

    def infer(self, items: Sequence[Steps]) -> list[Row | Skip]:
        """Average the steps of each clip."""
        return [self.pooled(item) for item in items]  # type: ignore[arg-type]  # no need to round before the mean
