"""The judge `csv`: predictions that were made elsewhere, for instance by a video model on another machine.

The CSV has one row per clip, in one of two formats:

    name,label                one class per clip
    name,<class>,<class>,...  a number per class, not negative, with any positive sum: scores, or how many raters of a
                              crowd name the class. Whole numbers are counts (labels/judges.py)

The judge abstains on a clip whose cells are all empty or that has no row. Other columns are ignored. The whole file is
checked before the first clip is processed. The input digest of a clip covers only its own row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.csv_files import known, note_unmatched, read_csv, read_label
from mer_pipeline.base.errors import DatasetError, Skip, did_you_mean
from mer_pipeline.base.transform import Source
from mer_pipeline.config.project import DATA
from mer_pipeline.config.section import below_data
from mer_pipeline.judges.judge import Family, Floats, Judge, JudgeParams

LABEL = "label"


class OutsideParams(JudgeParams):
    """Predictions that were made elsewhere, in a CSV."""

    input: str  # the path of the CSV below data/
    family: Annotated[Family, Field(examples=["video-llm"])]  # the family of its votes

    @field_validator("input")
    @classmethod
    def _is_external(cls, name: str) -> str:
        if below_data(name).suffix != ".csv":
            raise ValueError(f"'{name}' must be a .csv below data/, where DVC sees that it changes")
        return name


class Outside(Judge[Floats]):
    """Vote with the rows of a CSV. An item is a float64 array (classes,)."""

    Params = OutsideParams

    def __init__(self, name: str, params: OutsideParams, classes: tuple[str, ...]) -> None:
        self.path = DATA / params.input
        columns = check_predictions(self.path, classes)
        super().__init__(name, params, classes, Source("manifest", ()), Source(params.input, columns))
        self.schema = self.schema.append(pa.field("total", pa.float64()))  # the sum of the numbers in the clip's row

    def note(self, clip_ids: Callable[[], Collection[str]]) -> str:
        """Return a sentence about the unmatched names of the CSV, or "" if all are clips.

        Raises:
            DatasetError: none of the names is a clip.
        """
        return note_unmatched(self.path, [row["name"] for row in read_csv(self.path, ("name",))], clip_ids())

    def prepare(self, clip: Clip) -> Floats:
        """Return the weights in the clip's row.

        Raises:
            Skip: the judge abstains on the clip.
        """
        row = clip.need(self.params.input)
        weights = weights_of({key: str(cell) for key, cell in row.items()}, self.classes, f"'{clip.clip_id}'")
        if weights is None:
            raise Skip("abstains")
        return weights

    def infer(self, items: Sequence[Floats]) -> list[Row | Skip]:
        """Return the rows: the normalised weights, and their sum, which tells `labels` how many raters a crowd had."""
        return [{**self.verdict(item), "total": float(item.sum())} for item in items]


def check_predictions(path: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """Check every row of the CSV, and return the names of the columns that hold the predictions.

    Raises:
        DatasetError: the file can't be read, has no rows, repeats a name or lacks a column; or a row does not have the
            format that the module describes.
    """
    columns: tuple[str, ...] | None = None
    for row in read_csv(path, ("name",)):
        columns = columns or _prediction_columns(path, row, classes)
        weights_of({column: row[column] for column in columns}, classes, f"{path}, '{row['name']}'")
    if columns is None:
        raise DatasetError(f"{path} has no rows; write predictions into it, or take the judge out of params.yaml")
    return columns


def weights_of(cells: Mapping[str, str], classes: Sequence[str], where: str) -> Floats | None:
    """Return one weight per class, (classes,), or None if all cells are empty.

    Args:
        cells: the cells of a row by column: `label`, or one per class.
        classes: the classes, in order.
        where: the file and the row, for error messages.

    Raises:
        DatasetError: the label is no class, a number is negative or not finite, or the sum is not positive.

    Example:
        >>> weights_of({"label": "sad"}, ["joy", "sad"], "the first row").tolist()
        [0.0, 1.0]
        >>> weights_of({"joy": "", "sad": ""}, ["joy", "sad"], "the first row") is None
        True
    """
    if LABEL in cells:
        label = read_label(cells[LABEL], classes, where)
        return None if label is None else np.array([float(name == label) for name in classes])
    texts = [cells[name].strip() for name in classes]
    if all(known(text) is None for text in texts):
        return None
    weights = np.array([_number(text, f"{where}, {name}") for text, name in zip(texts, classes, strict=True)])
    if not 0 < weights.sum() < np.inf:
        raise DatasetError(f"{where}: the numbers sum to {weights.sum():g}; leave all cells empty where it abstains")
    return weights


def _prediction_columns(path: Path, header: Collection[str], classes: Sequence[str]) -> tuple[str, ...]:
    if reserved := sorted({"name", "clip_id", LABEL} & set(classes)):
        raise DatasetError(
            f"dataset.classes has '{reserved[0]}', which is a column of its own in {path}; rename the class"
        )
    named = [name for name in classes if name in header]
    if LABEL in header:
        if named:
            raise DatasetError(
                f"{path} has a column '{LABEL}' and columns of classes ({', '.join(named)}); keep one kind"
            )
        return (LABEL,)
    if not named:
        raise DatasetError(f"{path} has neither a column '{LABEL}' nor one per class ({', '.join(classes)})")
    for name in classes:
        if name not in header:
            raise DatasetError(f"{path}: no column '{name}'{did_you_mean(name, header)}; every class needs one")
    return tuple(classes)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or value < 0:
        raise DatasetError(f"{where}: '{text}' is no number from 0 up; write 0 where the class has nothing")
    return value
