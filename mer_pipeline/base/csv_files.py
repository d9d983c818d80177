"""CSV files: those that people write, with names and labels cleaned and one sentence for whatever is wrong with a file,
and those that stages write, whose bytes depend on the values alone.

People's files come from spreadsheets and from pandas. The byte-order mark says whether a file is UTF-8 or UTF-16, the
header whether commas, semicolons or tabs part its cells. An encoding without a mark is never guessed, because a wrong
guess would change names silently.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from mer_pipeline.base.errors import DatasetError, did_you_mean

csv.field_size_limit(1 << 24)  # a long cell in a column that nobody reads is no reason to stop
EMPTY = frozenset({"", "nan", "NaN"})  # of a cell that has nothing; pandas and the challenge's files write NaN
ABSENT = frozenset({"", "nan", "none", "null", "n/a", "na"})  # in small letters, where a number or a key stands
UNNAMED = re.compile(r"(Unnamed: \d+[\d.]*)?")  # a column without a name, and what pandas then calls it
DELIMITERS = ",;\t"
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # the first bytes of a file that is not UTF-8
JOINERS = "\u200c\u200d"  # invisible, and part of names in some scripts
NAMED = 3  # names that a sentence shows


def clean(text: str) -> str:
    """Return a name or label in the form in which it is compared.

    The text is normalised to Unicode NFC, because file systems differ in the form that they give, and blanks at both
    ends are removed.

    Example:
        >>> clean(" cafe\\u0301 ") == "caf\\u00e9"
        True
    """
    return unicodedata.normalize("NFC", text).strip()


def hidden(name: str) -> str:
    """The first character of a name that nobody can see or type, such as a control character; "" where there is none.

    Blanks of any width are no such characters.
    """
    shown = (char.isprintable() or char in JOINERS or unicodedata.category(char) == "Zs" for char in name)
    return next((char for char, is_shown in zip(name, shown, strict=True) if not is_shown), "")


def present(text: str | None) -> str | None:
    """A cell's words, or None where it is empty or NaN. "None" is a word, and so is "null"."""
    return None if text is None or text.strip() in EMPTY else text.strip()


def known(text: str | None) -> str | None:
    """The text of a cell for a number or a key, or None where it is empty or says NaN, none, null or NA."""
    return None if text is None or text.strip().lower() in ABSENT else text.strip()


def read_csv(path: Path, columns: Sequence[str], unique: str | None = "name") -> Iterator[Mapping[str, str]]:
    """Rows of a CSV with a header; columns without a name are left out.

    Args:
        path: the file.
        columns: the columns that the file must have; it may have more.
        unique: a column whose values are cleaned, and must be printable and differ from each other; None: no column.

    Yields:
        The text of each row's cells, by column.

    Raises:
        DatasetError: it is missing, in an encoding that nothing says, lacks a column, or repeats a name.
    """
    seen: set[str] = set()
    with _opened(path) as (header, lines):
        _check_header(path, header, columns)
        unnamed = [column for column in header if UNNAMED.fullmatch(column)]
        for line, cells in lines:
            if any(cells[len(header) :]):
                raise DatasetError(f"{path}, line {line}: more cells than columns; quote the cells with a delimiter")
            row = {**dict.fromkeys(header, ""), **dict(zip(header, cells, strict=False))}
            for column in unnamed:
                row.pop(column, None)
            if unique is not None:
                name = row[unique] = clean(row[unique])
                if not name:
                    raise DatasetError(f"{path}, line {line}: a name is empty")
                if char := hidden(name):
                    raise DatasetError(
                        f"{path}, line {line}: the name {name!r} has an invisible character (U+{ord(char):04X}); "
                        "remove it"
                    )
                if name in seen:
                    raise DatasetError(f"{path}: '{name}' stands there twice; keep one of the rows")
                seen.add(name)
            yield row


def read_header(path: Path) -> list[str]:
    """The names of a CSV's columns, without those that have none.

    Raises:
        DatasetError: as `read_csv`.
    """
    with _opened(path) as (header, _):
        _check_header(path, header, ())
        return [column for column in header if not UNNAMED.fullmatch(column)]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """The header of a CSV, and the number and cells of each other line; what is wrong with the file in one sentence."""
    try:
        with path.open("rb") as raw:
            encoding = MARKS.get(raw.read(2), "utf-8-sig")
        with path.open(encoding=encoding, newline="") as file:
            first = file.readline()
            before = 0
            if declared := re.fullmatch(r"sep=(.)\s*", first):  # a line of its own, for spreadsheet programs
                first, before = file.readline(), 1
            delimiter = declared[1] if declared else _delimiter(first)
            reader = csv.reader(chain([first], file), strict=True, delimiter=delimiter)
            header = [clean(column) for column in next(reader, [])]
            yield header, ((before + reader.line_num, cells) for cells in reader if cells)
    except FileNotFoundError:
        raise DatasetError(f"there is no file {path}; see its path in params.yaml or on the command line") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); see its path in params.yaml") from None
    except UnicodeError:
        raise DatasetError(f"{path} {_unreadable(path)}") from None
    except csv.Error as error:
        raise DatasetError(f"{path} is not a readable CSV: {error}") from None


def _delimiter(header: str) -> str:
    """A comma where the header has one outside of quotes; else a semicolon or a tab where it has that."""
    plain = re.sub(r'"[^"]*"', "", header)
    return next((delimiter for delimiter in DELIMITERS if delimiter in plain), DELIMITERS[0])


def _unreadable(path: Path) -> str:
    """What a file that is not UTF-8 may be, and how to mend it."""
    data = path.read_bytes()
    if data[:2] in {b"PK", b"\xd0\xcf"}:
        return "is a workbook and no CSV; save it as 'CSV UTF-8'"
    lines = data.splitlines()
    at = next((at for at, line in enumerate(lines) if not _is(line, "utf-8")), 0)
    line = lines[at] if lines else b""
    in_pairs = re.sub(rb"[\xa1-\xfe]{2}", b"", line).isascii()  # as GBK writes a Chinese character
    guess = "GBK" if in_pairs and _is(data, "gb18030") else "cp1252"
    return (
        f"is not UTF-8 (line {at + 1}), and probably {guess}; save it as 'CSV UTF-8', or run "
        f"`iconv -f {guess} -t UTF-8 {path} > NEW.csv`"
    )


def _is(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeError:
        return False
    return True


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
    if "\0" in "".join(header):
        raise DatasetError(f"{path} is no text in UTF-8 (it has zero bytes); save it as 'CSV UTF-8'")
    for column in columns:
        if column not in header:
            raise DatasetError(f"{path}: no column '{column}'{did_you_mean(column, header)}")
    for column in header:
        if list(header).count(column) > 1 and not UNNAMED.fullmatch(column):
            raise DatasetError(f"{path}: two columns are called '{column}'; rename or remove one")


def check_label(label: str, classes: Sequence[str], where: str) -> str:
    """A label as its class is written: the same, or the only class that differs in nothing but case.

    Raises:
        DatasetError: the label is none of the classes.
    """
    label = clean(label)
    if label in classes:
        return label
    alike = [name for name in classes if name.casefold() == label.casefold()]
    if len(alike) != 1:
        nothing = "; leave the cell empty where there is no label" if label.lower() in ABSENT else ""
        raise DatasetError(f"{where}: unknown label '{label}'{did_you_mean(label, classes)}{nothing}")
    return alike[0]


def read_label(text: str | None, classes: Sequence[str], where: str) -> str | None:
    """The label in a cell; None where it is empty, or NaN and no class is called so.

    Raises:
        DatasetError: it is none of the classes.
    """
    if text is None or (present(text) is None and clean(text) not in classes):
        return None
    return check_label(text, classes, where)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in the form that DVC plots and the official scorer read: UTF-8, with "\\n" after each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
