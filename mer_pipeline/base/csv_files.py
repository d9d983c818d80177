"""CSV files: those that people write, with names and labels cleaned and one sentence for whatever is wrong with a file,
and those that stages write, whose bytes depend on the values alone.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mer_pipeline.base.errors import DatasetError, did_you_mean

csv.field_size_limit(1 << 24)  # a long cell in a column that nobody reads is no reason to stop
ABSENT = frozenset({"", "nan", "none", "null", "n/a"})
NAMED = 3  # names that a sentence shows


def clean(text: str) -> str:
    """A name or label as it is compared: NFC (file systems differ), no blanks around."""
    return unicodedata.normalize("NFC", text).strip()


def present(text: str | None) -> str | None:
    """A cell's text, or None where it is empty or says NaN."""
    return None if text is None or text.strip().lower() in ABSENT else text.strip()


def read_csv(path: Path, columns: Sequence[str], unique: str | None = "name") -> Iterator[Mapping[str, str]]:
    """Rows of a CSV with a header, UTF-8 with or without a byte-order mark.

    Args:
        path: the file.
        columns: those that must be there.
        unique: a column whose values must differ.

    Raises:
        DatasetError: it is missing, not UTF-8, lacks a column, or repeats a name.
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
    """A sentence about the names of a file (or folder) that are no clips; "" where all are.

    Raises:
        DatasetError: none of them is a clip.
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
    """A label, cleaned.

    Raises:
        DatasetError: it is none of the classes.
    """
    label = clean(label)
    if label not in classes:
        raise DatasetError(f"{where}: unknown label '{label}'{did_you_mean(label, classes)}")
    return label


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV as DVC plots and the official scorer read it: UTF-8, lines that end with a newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
