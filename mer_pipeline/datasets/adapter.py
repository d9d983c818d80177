"""The section `dataset` of params.yaml: where the clips are and how they are described."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from mer_pipeline.csv_files import clean, present
from mer_pipeline.section import Section

MER_CLASSES = ("neutral", "angry", "happy", "sad", "worried", "surprise")


class ColumnParams(Section):
    """Names of the columns of the `folder` adapter's CSV; all but `name` may be absent from it."""

    name: str = "name"
    label: str = "label"
    split: str = "split"
    group: str = "group"
    order: str = "order"
    transcript: str = "transcript"
    fps: str = "fps"
    duration: str = "duration"


class DatasetParams(Section):
    """Where the clips are and how they are described."""

    adapter: Literal["mer2025", "mer2026", "folder"] = "mer2025"  # how the folder is laid out
    root: str  # folder of the dataset
    # folder adapter: false: there are no media files, and the CSV alone says which clips there are
    media: bool = True
    # folder adapter: the CSV that describes the clips, in or outside of root. Without one it is root again, because
    # DVC watches both and cannot watch nothing; then every clip is unlabelled.
    csv: str
    columns: ColumnParams = ColumnParams()  # folder adapter: what the CSV calls its columns
    classes: tuple[str, ...] = MER_CLASSES  # in the order of every table and matrix; neutral first by custom
    group_pattern: str | None = None  # a regex on the clip's name whose first group is the speaker or scene
    order_pattern: str | None = None  # likewise, its first group the utterance's number within speaker or scene
    votes: str | None = None  # CSV name,source,family,label of further annotators, relative to root
    truth: tuple[str, ...] = ()  # CSVs name,discrete, relative to root; for evaluation only

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) < 2 or len(set(classes)) != len(classes):
            raise ValueError("needs at least two different class names")
        for name in classes:
            if name != clean(name) or not name.isprintable():
                raise ValueError(
                    f"{name!r} has blanks around it, control characters, or accents apart from their letters"
                )
            if present(name) is None:
                raise ValueError(f"'{name}' means no label in a CSV; take another name for the class")
        return classes

    @field_validator("votes", "truth")
    @classmethod
    def _inside(cls, names: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for name in (names,) if isinstance(names, str) else names or ():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"'{name}' must lie below dataset.root, where DVC sees that it changes")
        return names

    @field_validator("group_pattern", "order_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"is not a regular expression: {error}") from None
            if groups < 1:
                raise ValueError("needs a (group) in parentheses")
        return pattern
