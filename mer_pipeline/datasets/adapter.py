"""The base of adapters, and the section `dataset` of params.yaml.

An adapter knows how the folder of one kind of dataset is laid out, and lists its clips.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from mer_pipeline.base.csv_files import clean, hidden
from mer_pipeline.base.kind import Kind
from mer_pipeline.base.target import PART, Classes, ClassSets, Numbers, Target, why_no_classes
from mer_pipeline.config.choice import Choice
from mer_pipeline.config.components import ADAPTERS
from mer_pipeline.config.section import Section
from mer_pipeline.datasets.listing import Listing

MER_CLASSES = ("neutral", "angry", "happy", "sad", "worried", "surprise")


class DatasetParams(Section):
    """Where the clips are and how they are described. `adapter` says how the folder is laid out; each adapter has
    options of its own besides."""

    adapter: str = "mer2025"  # how the folder is laid out
    root: str  # folder of the dataset
    # the CSV that describes the clips, in root or elsewhere, if the adapter reads one; otherwise the same as root,
    # because DVC watches both paths and both must exist
    csv: str
    # what is predicted for a clip. class: one of the classes; multilabel: a set of them; regression: numbers
    target: Kind = "class"
    classes: tuple[str, ...] = MER_CLASSES  # in the order that all tables and matrices have; neutral is usually first
    # regression: the columns with numbers, each with its lowest and highest possible number, as in valence: [-1, 1]
    values: dict[str, tuple[float, float]] = Field(default_factory=dict)
    delimiter: str = PART  # multilabel: what parts the classes in a cell; not used with one column of 0 and 1 per class
    group_pattern: str | None = None  # a regex on the clip's name whose first group is the speaker or scene
    order_pattern: str | None = None  # a regex whose first group is the utterance's number within its speaker or scene
    # CSV of other annotators' votes (name,source,family,label; for a crowd also worker or count), relative to root
    votes: str | None = None
    truth: tuple[str, ...] = ()  # CSVs of true labels (name,discrete), relative to root; for evaluation only

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) < 2 or len(set(classes)) != len(classes):
            raise ValueError("needs at least two different class names")
        for name in classes:
            if not name or name != clean(name) or hidden(name):
                raise ValueError(
                    f"{name!r} is empty, has blanks around it, control characters, or accents apart from their letters"
                )
        return classes

    @model_validator(mode="after")
    def _fits_target(self) -> DatasetParams:
        if self.target == "class" and (why := why_no_classes(self.classes)):
            raise ValueError(f"classes: {why} and name the column in dataset.values")
        if (self.target == "regression") != bool(self.values):
            raise ValueError(
                "values: dataset.target 'regression' needs the columns with numbers and their ranges, e.g. "
                "{valence: [-1, 1]}"
                if self.target == "regression"
                else f"values: they are for dataset.target 'regression' and not '{self.target}'"
            )
        for name, (low, high) in self.values.items():
            if not low < high:
                raise ValueError(f"values.{name}: the first of [low, high] must be below the second")
        if self.target == "multilabel":
            if not self.delimiter.strip() and self.delimiter != " ":
                raise ValueError("delimiter: it must be a character that no class has")
            for name in self.classes:
                if PART in name or self.delimiter in name:
                    raise ValueError(
                        f"classes: '{name}' has '{PART}' or the delimiter, which part the classes of a clip"
                    )
        return self

    @property
    def predicts(self) -> Target:
        """What is predicted for a clip."""
        if self.target == "multilabel":
            return ClassSets(self.classes, self.delimiter)
        if self.target == "regression":
            return Numbers(tuple(self.values), tuple(self.values.values()))
        return Classes(self.classes)

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


DATASET = Choice(DatasetParams, "adapter", ADAPTERS)  # the section `dataset` of params.yaml


class Adapter(ABC):
    """Base of the adapters. An adapter reads one kind of layout of a dataset's folder.

    Attributes:
        Params: the class of the section `dataset` of params.yaml for this adapter.
        truths: files of true labels that a release of this layout may have; `mer init` writes those that are there.
        language: the language that is spoken in every release of this layout; None: any.

    Args:
        params: the section `dataset`.
    """

    Params: type[DatasetParams] = DatasetParams
    truths: ClassVar[tuple[str, ...]] = ()
    language: ClassVar[Literal["zh", "en"] | None] = None

    def __init__(self, params: DatasetParams) -> None:
        self.params: DatasetParams = params

    @classmethod
    def fits(cls, folder: Path) -> bool:
        """Say whether a folder surely has this layout, so that `mer init` can choose the adapter."""
        del folder
        return False

    @abstractmethod
    def listing(self) -> Listing:
        """List every clip of the dataset, with what is known about it before a media file is opened.

        Raises:
            DatasetError: if the folder or a CSV does not have this layout.
        """


def make_adapter(params: DatasetParams) -> Adapter:
    """Make the adapter that the section `dataset` of params.yaml names."""
    return ADAPTERS.load(params.adapter)(params)
