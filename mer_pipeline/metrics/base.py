"""The base of all metric files: write an object to a JSON file, and read it back.

    TrainMetrics(...).write(path)  ─►  metrics/train.json  ─►  TrainMetrics.read(path)

Equal values give equal bytes. A file may lack a field that has a default: such a field is only written if it is set.
All other fields are required. A file that lacks one of them, or has an unknown key, was written by another version.
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
        """Return the object as JSON values, with the keys in the order of the fields.

        Example:
            >>> from mer_pipeline.metrics.scores import Interval
            >>> Interval(low=0.5, high=0.7, over="groups", n=12).plain()
            {'low': 0.5, 'high': 0.7, 'over': 'groups', 'n': 12}
        """
        values: dict[str, JsonValue] = self.model_dump(mode="json", exclude_unset=True)
        return values


class MetricFile(Figures):
    """A whole metric file.

    Attributes:
        STAGE: the stage that writes the file.
        INDENT: the number of spaces per level of the JSON text.
        SORTED: whether the keys are sorted; if not, they are in the order of the fields.
    """

    STAGE: ClassVar[str]
    INDENT: ClassVar[int] = 2
    SORTED: ClassVar[bool] = True

    def write(self, path: Path) -> None:
        """Write the file, and make its folder if there is none."""
        text = json.dumps(self.plain(), indent=self.INDENT, sort_keys=self.SORTED, ensure_ascii=False)
        atomic_write(path, text + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            StageError: the file is missing, or it does not have the form that this version writes.
        """
        if not path.is_file():
            raise StageError(f"{path} is missing; make it with `dvc repro {cls.STAGE}`")
        return cls.parse(path.read_bytes(), str(path))

    @classmethod
    def find(cls, path: Path) -> Self | None:
        """Read the file, or return None if it is missing.

        Raises:
            StageError: the file does not have the form that this version writes.
        """
        return cls.read(path) if path.is_file() else None

    @classmethod
    def parse(cls, text: bytes, where: str) -> Self:
        """Make the object from a file's bytes; `where` names the file in an error.

        Raises:
            StageError: the bytes do not have the form that this version writes.
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
