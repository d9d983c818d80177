"""What a person's CSV says, for `mer init`: which column means what, and which classes its labels are."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from mer_pipeline.base.csv_files import clean, present, read_csv, read_header
from mer_pipeline.base.errors import DatasetError, UsageError, did_you_mean
from mer_pipeline.base.target import is_number, why_no_classes
from mer_pipeline.datasets.adapter import MER_CLASSES

# What people call the columns, most usual first.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "name": ("name", "clip", "clip_id", "file", "filename", "file_name", "video", "path", "id"),
    "label": ("label", "emotion", "discrete", "class", "category"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "speaker", "actor", "subject", "speaker_id", "scene"),
    "order": ("order", "utterance_id", "turn"),
    "transcript": ("transcript", "text", "sentence", "utterance", "subtitle"),
    "fps": ("fps", "frame_rate"),
    "duration": ("duration", "seconds"),
}
SHOWN = 3  # labels that a sentence shows

Ask = Callable[[str], bool]


def ask_terminal(question: str) -> bool:
    """Put a question to the person.

    Raises:
        UsageError: nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody can answer here: say --yes or --no")
    import typer

    return typer.confirm(question)


def find_columns(csv: Path, named: Mapping[str, str]) -> dict[str, str]:
    """A CSV's columns by meaning.

    Args:
        csv: the file.
        named: columns by meaning, as a person names them; the others are found under their usual names.

    Raises:
        UsageError: a meaning is unknown.
        DatasetError: the file cannot be read, or lacks a column that is named or the one for the clip's name.
    """
    for key in named:
        if key not in SYNONYMS:
            raise UsageError(f"--column {key}: no such meaning{did_you_mean(key, SYNONYMS)}")
    header = read_header(csv)
    for wanted in named.values():
        if wanted not in header:
            raise DatasetError(f"{csv}: no column '{wanted}'{did_you_mean(wanted, header)}")
    free = [column for column in header if column not in named.values()]
    guessed = {key: column for key in SYNONYMS if (column := _find(free, SYNONYMS[key])) is not None}
    found = {**guessed, **named}
    if "name" not in found:
        raise DatasetError(
            f"{csv} has no column for the clip's name among {', '.join(header)}; say which with --column name=COLUMN"
        )
    return {key: found[key] for key in SYNONYMS if key in found}


def find_classes(csv: Path, column: str, *, ask: Ask, numbers: bool) -> list[str]:
    """The classes that a column's labels are. Every word is a label, "none" and "NA" too; an empty cell is not.

    Args:
        csv: the file.
        column: of the labels.
        ask: whether spellings that differ by case only are one class.
        numbers: whether a number may be a class.

    Raises:
        UsageError: a label is a number.
        DatasetError: the file cannot be read, or has one class only, which is none of the MER classes.
    """
    cells = (row[column] for row in read_csv(csv, (column,), unique=None))
    counts = Counter(clean(text) for cell in cells if (text := present(cell)) is not None)
    if numbers and (why := why_no_classes(sorted(counts))):
        raise UsageError(f"{csv}: column '{column}': {why} (mer init: --target regression)")
    if not numbers and (found := [label for label in sorted(counts) if is_number(label)]):
        raise UsageError(
            f"{csv}: column '{column}' has numbers ({', '.join(found[:SHOWN])}), and a number is no name of a class: "
            "name another column with --column label=COLUMN, say --target classes if they are codes of classes, or "
            "--target regression if numbers are to be predicted"
        )
    for spellings in _alike(counts):
        kept = max(spellings, key=lambda label: (label in MER_CLASSES, counts[label]))
        shown = " and ".join(f"'{label}' ({counts[label]})" for label in spellings)
        if ask(f"{csv}: {shown} differ by case only. Merge them into '{kept}'?"):
            for label in spellings:
                if label != kept:
                    counts[kept] += counts.pop(label)
    if len(counts) == 1 and not counts.keys() <= set(MER_CLASSES):
        raise DatasetError(
            f"{csv}: column '{column}' has one class only, '{min(counts)}', and training needs two: add clips of "
            "another class, or name another column with --column label=COLUMN"
        )
    return order_classes(counts)


def order_classes(labels: Collection[str]) -> list[str]:
    """The labels that occur: in the order of the MER classes, then by the alphabet; the MER classes where there are
    too few labels to tell."""
    if len(labels) < 2:
        return list(MER_CLASSES)
    return sorted(labels, key=lambda label: (MER_CLASSES.index(label) if label in MER_CLASSES else 99, label))


def _alike(labels: Collection[str]) -> list[list[str]]:
    """The spellings of each label that has several, where they differ by case only."""
    by_case: dict[str, list[str]] = {}
    for label in sorted(labels):
        by_case.setdefault(label.casefold(), []).append(label)
    return [spellings for spellings in by_case.values() if len(spellings) > 1]


def _find(header: Sequence[str], names: Sequence[str]) -> str | None:
    lowered = {column.lower(): column for column in header}
    return next((lowered[name] for name in names if name in lowered), None)
