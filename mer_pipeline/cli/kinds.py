"""Sets of classes and numbers as the target, for `mer init`: what a CSV has of them, and how a profile is changed.

--target class        one class a clip (the default); `classes` also allows labels that are numbers, as codes
--target multilabel   several: cells such as "happy;sad", or one column of 0 and 1 per class
--target regression   numbers: the columns valence, arousal, ..., or the column of labels if it has numbers
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import ceil, floor
from pathlib import Path

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from mer_pipeline.base.csv_files import clean, known, present, read_csv, read_header
from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.kind import Kind
from mer_pipeline.base.target import Range, is_number
from mer_pipeline.cli.columns import order_classes

DIMENSIONS = ("valence", "arousal", "dominance", "intensity", "sentiment")  # columns that usually hold numbers
DELIMITERS = (";", "|", ",", "/")  # that may part the classes in a cell
USUAL: tuple[Range, ...] = ((0, 1), (-1, 1), (1, 5), (1, 9), (-3, 3))  # ranges of ratings, the narrowest first
LINEAR = {"multilabel": "binary", "regression": "ridge"}  # the linear head in the place of logreg


def of_csv(kind: Kind, csv: Path, columns: Mapping[str, str]) -> CommentedMap:
    """Return the keys of the section `dataset` that a kind of target needs, as a CSV has them.

    Args:
        kind: multilabel or regression.
        csv: the file.
        columns: its columns by meaning.

    Raises:
        UsageError: the CSV has no labels of that kind.
        DatasetError: the CSV cannot be read.
    """
    if kind == "regression":
        values = find_numbers(csv, columns)
        ranges = {name: CommentedSeq(own) for name, own in values.items()}
        for own in ranges.values():
            own.fa.set_flow_style()  # [-1, 1]
        return CommentedMap(target=kind, values=CommentedMap(ranges))
    classes, delimiter = find_sets(csv, columns)
    return CommentedMap(target=kind, classes=classes, **({} if delimiter is None else {"delimiter": delimiter}))


def find_numbers(csv: Path, columns: Mapping[str, str]) -> dict[str, Range]:
    """Return the columns that hold numbers to predict, each with a usual range that its numbers fit into.

    The arguments and errors are those of `of_csv`.
    """
    header = read_header(csv)
    label = columns.get("label")
    names = [column for column in header if column.lower() in DIMENSIONS]
    names = names or ([label] if label is not None else [])
    found: dict[str, Range] = {}
    for name in names:
        cells = [text for row in read_csv(csv, (name,), unique=None) if (text := known(row[name])) is not None]
        if cells and all(map(is_number, cells)):
            found[name] = _range([float(cell) for cell in cells])
    if not found:
        raise UsageError(
            f"{csv}: no column has numbers to predict (looked for {', '.join(DIMENSIONS)} and the column of labels); "
            "name it with --column label=COLUMN"
        )
    return found


def find_sets(csv: Path, columns: Mapping[str, str]) -> tuple[list[str], str | None]:
    """Return the classes, and what parts them in a cell; None for one column of 0 and 1 per class.

    The arguments and errors are those of `of_csv`.
    """
    if (label := columns.get("label")) is not None:
        cells = [text for row in read_csv(csv, (label,), unique=None) if (text := present(row[label])) is not None]
        counts = {mark: sum(mark in cell for cell in cells) for mark in DELIMITERS}
        mark = max(DELIMITERS, key=lambda one: counts[one])
        if not counts[mark]:
            raise UsageError(
                f"{csv}: no cell of column '{label}' has several classes, parted by one of {' '.join(DELIMITERS)}; "
                "leave out --target multilabel, or name another column with --column label=COLUMN"
            )
        return order_classes({clean(part) for cell in cells for part in cell.split(mark) if clean(part)}), mark
    free = [column for column in read_header(csv) if column not in columns.values()]
    flags = {column: {known(row[column]) for row in read_csv(csv, (column,), unique=None)} - {None} for column in free}
    classes = [name for name, cells in flags.items() if cells and cells <= {"0", "1", "0.0", "1.0"}]
    if len(classes) < 2:
        raise UsageError(f"{csv}: there are neither cells with several classes nor columns of 0 and 1 for classes")
    return classes, None


def check_single(csv: Path, column: str) -> None:
    """Check that the cells of a column do not look like sets of classes.

    Raises:
        UsageError: a cell has several labels that stand alone in other cells.
    """
    cells = Counter(text for row in read_csv(csv, (column,), unique=None) if (text := present(row[column])) is not None)
    for cell in sorted(cells):
        for mark in DELIMITERS:
            if mark in cell and all(clean(part) in cells for part in cell.split(mark)):
                raise UsageError(
                    f"{csv}: '{cell}' in column '{column}' looks like several classes: say --target multilabel, or "
                    "--target class if it is the name of one"
                )


def set_target(params: CommentedMap, kind: Kind) -> list[str]:
    """Change what a profile says of labels, judges and heads, so that it suits the kind of target.

    Args:
        params: the content of a profile; it is changed.
        kind: the kind of target.

    Returns:
        Sentences for the user.
    """
    if kind == "class":
        return []
    taken = list(params["judges"])
    params["judges"].clear()
    params["labels"]["method"] = "given"
    params["pseudo"]["rounds"], params["ablation"]["enabled"] = 0, False
    params["train"] |= {"targets": "hard", "class_weights": "none"}
    heads = params["train"]["heads"]
    if "logreg" in heads:
        heads.insert(list(heads).index("logreg"), LINEAR[kind], CommentedMap())
        del heads["logreg"]
    judged = f", and no judge votes (taken out: {', '.join(taken)})" if taken else ""
    return [f"  target {kind}: labels are taken as given{judged}; heads: {', '.join(heads)}"]


def _range(values: list[float]) -> Range:
    low, high = min(values), max(values)
    fitting = [one for one in USUAL if one[0] <= low and high <= one[1]]
    return fitting[0] if fitting else (floor(low), max(ceil(high), floor(low) + 1))
