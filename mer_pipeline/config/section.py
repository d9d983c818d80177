"""The base class of every section of params.yaml, and types of fields that several sections share.

The class of a section stands in the module that uses it; `params.py` puts the sections together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from mer_pipeline.config.project import DATA

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Strength = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """Base of every section. Its values cannot be changed, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


T = TypeVar("T")


def distinct(entries: tuple[T, ...]) -> tuple[T, ...]:
    """Return the entries unchanged, after checking that no entry occurs twice.

    Raises:
        ValueError: an entry occurs twice.
    """
    if len(set(entries)) < len(entries):
        raise ValueError("has an entry twice")
    return entries


def below_data(name: str) -> Path:
    """Return the path of a file or folder that a user provides, relative to data/.

    It must lie below data/, because DVC notices changes there.

    Raises:
        ValueError: the path leads out of data/, or begins with data/ itself.

    Example:
        >>> below_data("votes/crowd.csv").as_posix()
        'votes/crowd.csv'
    """
    path = Path(name)
    if len(path.parts) > 1 and path.is_relative_to(DATA):
        raise ValueError(f"'{name}' is looked for below {DATA}/: write '{path.relative_to(DATA).as_posix()}'")
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"'{name}' must lie below {DATA}/, where DVC sees that it changes")
    return path
