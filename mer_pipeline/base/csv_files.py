"""Read the CSV files that people write, and write the CSV files of stages.

Names and labels that are read are cleaned, and any fault of a file is reported in one sentence. The bytes of a file
that is written depend on the values alone.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mer_pipeline.base.errors import DatasetError, did_you_mean

csv.field_size_limit(1 << 24)  # bytes; a long cell in a column that is not read should not be an error
ABSENT = frozenset({"", "nan", "none", "null", "n/a"})
NAMED = 3  # number of names that a message shows


def clean(text: str) -> str:
    """Return a name or label in the form in which it is compared.

    The text is normalised to Unicode NFC, because file systems differ in the form that they give, and blanks at both
    ends are removed.

    Example:
        >>> clean(" cafe\\u0301 ") == "caf\\u00e9"
        True
    """
    return unicodedata.normalize("NFC", text).strip()


def present(text: str | None) -> str | None:
    """Return a cell's text without blanks at its ends, or None where it is empty or a word such as "NaN" or "null".

    Example:
        >>> [present(cell) for cell in (" 3.5 ", "NaN", "", None)]
        ['3.5', None, None, None]
    """
    return None if text is None or text.strip().lower() in ABSENT else text.strip()


def read_csv(path: Path, columns: Sequence[str], unique: str | None = "name") -> Iterator[Mapping[str, str]]:
    """Read the rows of a CSV file with a header, in UTF-8 with or without a byte-order mark.

    Args:
        path: the file.
        columns: the columns that the file must have; it may have more.
        unique: a column whose values are cleaned, and must be printable and differ from each other; None: no column.

    Yields:
        The text of each row's cells, by column.

    Raises:
        DatasetError: the file cannot be read, is not UTF-8, lacks a column, has a row with too many cells, or has an
            empty or repeated value in the column `unique`.
    """
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames = [clean(column) for column in reader.fieldnames or []]
            _check_header(path, header, columns)
            for row in reader:
                if None in row:
                    raise DatasetError(f"{path}, line {reader.line_num}: more cells than columns; quote the commas")
                cells = {key: value or "" for key, value in row.items()}
                if unique is not None:
                    name = cells[unique] = clean(cells[unique])
                    if not name or not name.isprintable():
                        raise DatasetError(f"{path}, line {reader.line_num}: a name is empty or has control characters")
                    if name in seen:
                        raise DatasetError(f"{path}: '{name}' stands there twice; keep one of the rows")
                    seen.add(name)
                yield cells
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); see its path in params.yaml") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise DatasetError(f"{path} is not a readable CSV: {error}") from None


def note_unmatched(path: Path, names: Sequence[str], clip_ids: Collection[str]) -> str:
    """Return a sentence about the unmatched names of a file or folder; "" where every name is a clip.

    Args:
        path: the file or folder, for the message.
        names: the names that it gives.
        clip_ids: the names of the clips.

    Raises:
        DatasetError: none of the names is a clip.
    """
    unmatched = [name for name in names if name not in clip_ids]
    if clip_ids and names and len(unmatched) == len(names):
        raise DatasetError(
            f"{path}: none of its names is a clip: it says '{unmatched[0]}', the manifest '{min(clip_ids)}'; write "
            "names as the manifest has them (paths below dataset.root without suffix)"
        )
    shown = ", ".join(unmatched[:NAMED]) + (", ..." if len(unmatched) > NAMED else "")
    return f"{len(unmatched)} names of {path} are no clips ({shown})" if unmatched else ""


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    if not header:
        raise DatasetError(f"{path} is empty; it needs a line with the names of its columns")
    for column in columns:
        if column not in header:
            apart = " (is it separated by semicolons or tabs? save it with commas)" if len(header) == 1 else ""
            raise DatasetError(f"{path}: no column '{column}'{did_you_mean(column, header)}{apart}")
    for column in header:
        if list(header).count(column) > 1:
            raise DatasetError(f"{path}: two columns are called '{column}'; rename or remove one")


def check_label(label: str, classes: Sequence[str], where: str) -> str:
    """Return a label after cleaning (`clean`).

    Args:
        label: the label as it was written.
        classes: the allowed labels.
        where: the place of the label (a file and a line, for example), for the message.

    Raises:
        DatasetError: the label is none of the classes.
    """
    label = clean(label)
    if label not in classes:
        raise DatasetError(f"{where}: unknown label '{label}'{did_you_mean(label, classes)}")
    return label


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in the form that DVC plots and the official scorer read: UTF-8, with "\\n" after each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
