"""The base of every section of params.yaml, and the types that fields of several sections have.

A section stands in the module that it describes; `params.py` puts them together.
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
    """Base of every section: immutable, strict types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


T = TypeVar("T")


def distinct(entries: tuple[T, ...]) -> tuple[T, ...]:
    """The entries, none of which stands there twice.

    Raises:
        ValueError: one does.
    """
    if len(set(entries)) < len(entries):
        raise ValueError("has an entry twice")
    return entries


def below_data(name: str) -> Path:
    """A person's file or folder, by its path below data/, where DVC sees that it changes.

    Raises:
        ValueError: it lies elsewhere.
    """
    path = Path(name)
    if len(path.parts) > 1 and path.is_relative_to(DATA):
        raise ValueError(f"'{name}' is looked for below {DATA}/: write '{path.relative_to(DATA).as_posix()}'")
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"'{name}' must lie below {DATA}/, where DVC sees that it changes")
    return path
