"""The target of a dataset: what is predicted for a clip, and how it is written as a label and as numbers.

    class        one of the classes            "happy"             one-hot vector, and probabilities that sum to 1
    multilabel   a set of the classes          "happy;surprise"    a vector of 0 and 1, and one probability per class
    regression   a number for each dimension   "0.35;-0.2"         the numbers themselves

All tables hold labels as text. `read` makes the text from the cells of a CSV, `vector` makes the numbers that a head
learns, and `label` makes the text of a prediction. Other code asks the target and does not tell the kinds apart.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.base.csv_files import check_label, clean, known, present, read_label
from mer_pipeline.base.errors import DatasetError
from mer_pipeline.base.kind import Kind

Values = NDArray[np.float32]
Range = tuple[float, float]

PART = ";"  # parts the classes of a set, and the numbers of several dimensions, in the text of a label
NONE = "-"  # the text of an empty set, because an empty cell means that there is no label
BINS = 5  # quantiles by which folds are stratified
MOST_CODES = 20  # classes that are all numbers: more than this are measurements and no codes
FOOTER = "target"  # the key in the footer of data/folds.parquet; it is absent for classes


@dataclass(frozen=True)
class Target(ABC):
    """What is predicted: one number for each of `names`, which are classes or dimensions."""

    names: tuple[str, ...]
    kind: ClassVar[Kind]

    def columns(self, label: str) -> tuple[str, ...]:
        """Return the columns of a CSV that hold the label; `label` is the usual one."""
        return (label,)

    @abstractmethod
    def read(self, row: Mapping[str, str], column: str, where: str) -> str | None:
        """Return the label in a row of a CSV; None if its cells are empty.

        Args:
            row: the cells by column.
            column: the column of labels.
            where: the file and the clip, for messages.

        Raises:
            DatasetError: the cells hold no label of this target.
        """

    @abstractmethod
    def vector(self, label: str) -> Values:
        """Return a label as numbers, float32 (C,)."""

    @abstractmethod
    def label(self, values: Values, thresholds: Sequence[float] | None = None) -> str:
        """Return predicted numbers, float32 (C,), as a label.

        Args:
            values: probabilities, or the numbers of the dimensions.
            thresholds: the least probability of each class of a set; None: 0.5.
        """

    def cells(self, label: str) -> tuple[str, ...]:
        """Return a label as the cells of `columns`, as `read` accepts them."""
        return (label,)

    def bounded(self, values: Values) -> Values:
        """Return predictions, float32 (..., C), limited to what is possible."""
        return values

    def unknown(self) -> Values:
        """Return the prediction where nothing is known, float32 (C,): all classes are equally probable."""
        return np.ones(len(self.names), dtype=np.float32) / np.float32(len(self.names))

    def strata(self, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Return which strata each label is in, bool (n, S), so that folds have equal shares of each stratum."""
        return np.stack([self.vector(label) > 0 for label in labels])

    def footer(self) -> dict[str, str]:
        """Return the entry in the footer of a table, from which `target_of` makes the target again."""
        return {FOOTER: json.dumps({"kind": self.kind, "names": self.names})}


@dataclass(frozen=True)
class Classes(Target):
    """One of the classes.

    Example:
        >>> target = Classes(("happy", "sad"))
        >>> target.read({"emotion": "Sad"}, "emotion", "here"), target.vector("sad").tolist()
        ('sad', [0.0, 1.0])
    """

    kind = "class"

    def read(self, row: Mapping[str, str], column: str, where: str) -> str | None:
        """See `Target`. A number that is no class is refused with a sentence of its own."""
        text = present(row.get(column))
        if text is not None and clean(text) not in self.names and is_number(text):
            raise DatasetError(
                f"{where}: '{text}' is a number and none of the classes; if numbers are to be predicted, set "
                "dataset.target: regression and name their columns in dataset.values"
            )
        return read_label(row.get(column), self.names, where)

    def vector(self, label: str) -> Values:
        """See `Target`."""
        return np.array([name == label for name in self.names], dtype=np.float32)

    def label(self, values: Values, thresholds: Sequence[float] | None = None) -> str:
        """See `Target`. The first of equally probable classes is taken."""
        return self.names[int(values.argmax())]

    def footer(self) -> dict[str, str]:
        """See `Target`. There is none: the classes are in params.yaml."""
        return {}


@dataclass(frozen=True)
class ClassSets(Target):
    """A set of the classes, which may be empty.

    A CSV has either one column with the classes of a clip, parted by `delimiter`, or one column of 0 and 1 per class.

    Example:
        >>> target = ClassSets(("happy", "sad", "surprise"), ",")
        >>> target.read({"emotion": "surprise, happy"}, "emotion", "here")
        'happy;surprise'
        >>> target.read({"happy": "0", "sad": "0", "surprise": "0"}, "emotion", "here")
        '-'
        >>> target.vector("happy;surprise").tolist()
        [1.0, 0.0, 1.0]
    """

    delimiter: str = PART
    kind = "multilabel"

    def read(self, row: Mapping[str, str], column: str, where: str) -> str | None:
        """See `Target`."""
        if column in row:
            text = present(row[column])
            if text is None:
                return None
            parts = [part for part in text.split(self.delimiter) if clean(part)] if clean(text) != NONE else []
            found = {check_label(part, self.names, where) for part in parts}
        else:
            cells = {name: known(row.get(name)) for name in self.names}
            if all(cell is None for cell in cells.values()):
                return None
            for name, cell in cells.items():
                if cell is None or not is_number(cell) or float(cell) not in (0, 1):
                    raise DatasetError(f"{where}: column '{name}' must be 0 or 1, not '{cell or ''}'")
            found = {name for name, cell in cells.items() if cell is not None and float(cell)}
        return PART.join(name for name in self.names if name in found) or NONE

    def vector(self, label: str) -> Values:
        """See `Target`."""
        found = set(label.split(PART))
        return np.array([name in found for name in self.names], dtype=np.float32)

    def label(self, values: Values, thresholds: Sequence[float] | None = None) -> str:
        """See `Target`."""
        least = np.full(len(self.names), 0.5) if thresholds is None else np.array(thresholds)
        return PART.join(name for name, over in zip(self.names, values >= least, strict=True) if over) or NONE

    def cells(self, label: str) -> tuple[str, ...]:
        """See `Target`."""
        return (label if label == NONE else label.replace(PART, self.delimiter),)


@dataclass(frozen=True)
class Numbers(Target):
    """A number for each dimension, such as valence.

    Attributes:
        ranges: the lowest and the highest possible number of each dimension.

    Example:
        >>> target = Numbers(("valence", "arousal"), ((-1, 1), (-1, 1)))
        >>> target.read({"valence": "0.5", "arousal": "-1"}, "label", "here")
        '0.5;-1.0'
        >>> target.vector("0.5;-1.0").tolist(), target.label(np.array([0.25, 3.0], dtype=np.float32))
        ([0.5, -1.0], '0.25;1.0')
    """

    ranges: tuple[Range, ...]
    kind = "regression"

    def columns(self, label: str) -> tuple[str, ...]:
        """See `Target`."""
        return self.names

    def read(self, row: Mapping[str, str], column: str, where: str) -> str | None:
        """See `Target`. A clip has either all numbers or none."""
        cells = [known(row.get(name)) for name in self.names]
        if all(cell is None for cell in cells):
            return None
        values = []
        for name, cell, (low, high) in zip(self.names, cells, self.ranges, strict=True):
            if cell is None or not is_number(cell):
                raise DatasetError(
                    f"{where}: column '{name}' must be a number, not '{cell or ''}'; leave the cells of all dimensions "
                    "empty where there is no label"
                )
            if not low <= float(cell) <= high:
                raise DatasetError(
                    f"{where}: {name} {cell} lies outside of {low:g} to {high:g}; correct it, or the range in "
                    f"dataset.values.{name}"
                )
            values.append(float(cell))
        return PART.join(map(repr, values))

    def vector(self, label: str) -> Values:
        """See `Target`."""
        return np.array([float(part) for part in label.split(PART)], dtype=np.float32)

    def label(self, values: Values, thresholds: Sequence[float] | None = None) -> str:
        """See `Target`. Numbers are limited to their ranges and rounded to six digits."""
        return PART.join(repr(float(f"{value:.6g}")) for value in self.bounded(values))

    def cells(self, label: str) -> tuple[str, ...]:
        """See `Target`."""
        return tuple(label.split(PART))

    def bounded(self, values: Values) -> Values:
        """See `Target`."""
        low, high = np.array(self.ranges, dtype=np.float32).T
        return np.asarray(np.clip(values, low, high))

    def unknown(self) -> Values:
        """See `Target`. It is the middle of each range."""
        return np.asarray(np.array(self.ranges, dtype=np.float32).mean(axis=1))

    def strata(self, labels: Sequence[str]) -> NDArray[np.bool_]:
        """See `Target`. The strata are the quantiles of each dimension."""
        values = np.stack([self.vector(label) for label in labels])
        ranks = values.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
        return np.concatenate([ranks * BINS // len(values) == b for b in range(BINS)], axis=1)

    def footer(self) -> dict[str, str]:
        """See `Target`."""
        return {FOOTER: json.dumps({"kind": self.kind, "names": self.names, "ranges": self.ranges})}


def target_of(footer: Mapping[str, str], classes: Sequence[str]) -> Target:
    """Return the target that the footer of a table names; without an entry it is one of the classes.

    Example:
        >>> target = Numbers(("valence",), ((0, 1),))
        >>> target_of(target.footer(), ()) == target, target_of({}, ("happy", "sad")).kind
        (True, 'class')
    """
    if FOOTER not in footer:
        return Classes(tuple(classes))
    told = json.loads(footer[FOOTER])
    names = tuple(told["names"])
    if told["kind"] == ClassSets.kind:
        return ClassSets(names)
    return Numbers(names, tuple((low, high) for low, high in told["ranges"]))


def why_no_classes(names: Sequence[str]) -> str:
    """Return why names can't be classes because they are measured numbers; "" if they can be.

    Example:
        >>> why_no_classes(["1", "2"]), why_no_classes(["0.35", "sad"])[:20]
        ('', "'0.35' is a number w")
    """
    for name in names:
        if is_number(name) and not float(name).is_integer():
            return f"'{name}' is a number with a fraction and no name of a class: set dataset.target: regression"
    if len(names) > MOST_CODES and all(map(is_number, names)):
        return f"{len(names)} numbers are more than codes of classes can be: set dataset.target: regression"
    return ""


def is_number(text: str) -> bool:
    """Return whether a text is a finite number."""
    try:
        return isfinite(float(text))
    except ValueError:
        return False
