"""`csv`: predictions that were made elsewhere, for instance by a video model on another machine.

name,label                one class per clip
name,<class>,<class>,...  a number per class, not negative, of any positive sum

A row whose cells are all empty abstains, and so does a clip without a row. Other columns are passed over. The file is
checked as a whole before any clip is looked at; each clip's key covers its own row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Annotated

import numpy as np
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

    input: str  # a path below data/: the CSV
    family: Annotated[Family, Field(examples=["video-llm"])]  # whom its votes are not independent of

    @field_validator("input")
    @classmethod
    def _is_external(cls, name: str) -> str:
        if below_data(name).suffix != ".csv":
            raise ValueError(f"'{name}' must be a .csv below data/, where DVC sees that it changes")
        return name


class Outside(Judge[Floats]):
    """Rows of a CSV as votes. An item is (classes,) float64."""

    Params = OutsideParams

    def __init__(self, name: str, params: OutsideParams, classes: tuple[str, ...]) -> None:
        self.path = DATA / params.input
        columns = check_predictions(self.path, classes)
        super().__init__(name, params, classes, Source("manifest", ()), Source(params.input, columns))

    def note(self, clip_ids: Callable[[], Collection[str]]) -> str:
        """Names that are no clips; a DatasetError where none is."""
        return note_unmatched(self.path, [row["name"] for row in read_csv(self.path, ("name",))], clip_ids())

    def prepare(self, clip: Clip) -> Floats:
        """Read the clip's row."""
        row = clip.need(self.params.input)
        weights = weights_of({key: str(cell) for key, cell in row.items()}, self.classes, f"'{clip.clip_id}'")
        if weights is None:
            raise Skip("abstains")
        return weights

    def infer(self, items: Sequence[Floats]) -> list[Row | Skip]:
        """Nothing is left to compute."""
        return [self.verdict(item) for item in items]


def check_predictions(path: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """Make sure of every row; which columns hold the predictions.

    Raises:
        DatasetError: the file cannot be read, repeats a name or lacks a column; or a row is not as described.
    """
    columns: tuple[str, ...] | None = None
    for row in read_csv(path, ("name",)):
        columns = columns or _prediction_columns(path, row, classes)
        weights_of({column: row[column] for column in columns}, classes, f"{path}, '{row['name']}'")
    if columns is None:
        raise DatasetError(f"{path} has no rows; write predictions into it, or take the judge out of params.yaml")
    return columns


def weights_of(cells: Mapping[str, str], classes: Sequence[str], where: str) -> Floats | None:
    """A weight per class, (classes,); None where the row abstains.

    Raises:
        DatasetError: the label is no class, or the numbers are no weights.
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
