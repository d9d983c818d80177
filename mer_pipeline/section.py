"""The base of every section of params.yaml, and the types that fields of several sections have.

A section stands in the module that it describes; `params.py` puts them together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Strength = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """Base of every section: immutable, strict types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# Folders below data/ that stages write; what a person brings lies elsewhere there.
STAGE_FOLDERS = frozenset(
    {
        *("frames", "faces", "audio", "transcript", "enriched", "cues", "prompts", "replies"),
        *("features", "votes", "fusion", "quarantine"),
    }
)


def below_data(name: str) -> Path:
    """A person's file or folder, by its path below data/, where DVC sees that it changes.

    Raises:
        ValueError: it lies elsewhere.
    """
    path = Path(name)
    if name.startswith("data/"):
        raise ValueError(f"'{name}' is looked for below data/: write '{name.removeprefix('data/')}'")
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"'{name}' must lie below data/, where DVC sees that it changes")
    return path
