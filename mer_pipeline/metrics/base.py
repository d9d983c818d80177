"""What all metric files have in common: how a class becomes a file, and a file the class again.

    TrainMetrics(...).write(path)  ─►  metrics/train.json  ─►  TrainMetrics.read(path)

The bytes of a file depend on its values alone. A field that has a default is one that a file may lack: it is written
only where the writer gives it. All other fields are required, and a file that lacks one, or has a key that is no
field, was written by another version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.base.errors import StageError


class Figures(BaseModel):
    """A part of a metric file, or of what a command prints as JSON; its fields are the keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def plain(self) -> dict[str, JsonValue]:
        """The same as JSON values, keys in the order of the fields."""
        values: dict[str, JsonValue] = self.model_dump(mode="json", exclude_unset=True)
        return values


class MetricFile(Figures):
    """A whole metric file.

    Attributes:
        STAGE: the stage that writes it.
        INDENT: spaces per level of the JSON text.
        SORTED: whether keys are sorted, or stand in the order of the fields.
    """

    STAGE: ClassVar[str]
    INDENT: ClassVar[int] = 2
    SORTED: ClassVar[bool] = True

    def write(self, path: Path) -> None:
        """Write the file; its folder is made where there is none."""
        text = json.dumps(self.plain(), indent=self.INDENT, sort_keys=self.SORTED, ensure_ascii=False)
        atomic_write(path, text + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            StageError: it is missing, or it is not what this version writes.
        """
        if not path.is_file():
            raise StageError(f"{path} is missing; make it with `dvc repro {cls.STAGE}`")
        return cls.parse(path.read_bytes(), str(path))

    @classmethod
    def find(cls, path: Path) -> Self | None:
        """Read the file, or None where it is absent.

        Raises:
            StageError: it is not what this version writes.
        """
        return cls.read(path) if path.is_file() else None

    @classmethod
    def parse(cls, text: bytes, where: str) -> Self:
        """Make the object from a file's bytes; `where` names the file in an error.

        Raises:
            StageError: they are not what this version writes.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            what = f"'{key}': {first['msg']}" if key else first["msg"]
            raise StageError(
                f"{where} is not what this version writes ({what}); make it again with `dvc repro {cls.STAGE}`"
            ) from None
