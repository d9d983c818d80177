"""The command `mer predict`: a line for each file, as a table for people, as JSON or as CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mer_pipeline.base.errors import UsageError
from mer_pipeline.cli.answers import printable
from mer_pipeline.inference.predict import predict

Told: TypeAlias = dict[str, Any]  # a row of `predict`, with its values as JSON has them


def run_predict(files: Sequence[Path], text: str | None, form: Literal["table", "json", "csv"]) -> int:
    """Predict files, and print the result.

    Args:
        files: the films and sounds.
        text: what is said in the file, if there is only one; None: what the recogniser of params.yaml hears.
        form: how the result is printed.

    Returns:
        The exit code: 1 if a file has a problem, else 0.

    Raises:
        UsageError: there is a text and more than one file; or as in `predict`.
    """
    if text is not None and len(files) != 1:
        raise UsageError("--text is what is said in one file; give one file, or run the command once for each")
    rows = [_rounded(row) for row in predict(files, text={} if text is None else {files[0]: text}).to_dicts()]
    match form:
        case "json":
            print(json.dumps(rows, indent=1, ensure_ascii=False))
        case "csv":
            print(to_csv(rows), end="")
        case "table":
            _print_table(rows)
    return int(any(row["problem"] is not None for row in rows))


def to_csv(rows: Sequence[Told]) -> str:
    """Return rows as CSV, with a column for the probability of each class, in the order of the classes.

    Example:
        >>> row = {"file": "a.mp4", "label": "sad", "probabilities": {"sad": 0.75, "happy": 0.25}, "rests_on": "voice"}
        >>> print(to_csv([{**row, "transcript": "No.", "problem": None}]))
        file,label,probability_sad,probability_happy,rests_on,transcript,problem
        a.mp4,sad,0.75,0.25,voice,No.,
        <BLANKLINE>
    """
    classes = next((list(row["probabilities"]) for row in rows if row["probabilities"]), [])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("rests_on", "transcript", "problem")
    writer.writerow(["file", "label", *(f"probability_{name}" for name in classes), *names])
    for row in rows:
        shares = row["probabilities"] or dict.fromkeys(classes)
        writer.writerow(
            [row["file"], row["label"], *(shares[name] for name in classes), *(row[name] for name in names)]
        )
    return out.getvalue()


def _rounded(row: Told) -> Told:
    """Return a row whose numbers have 6 digits after the point, as float32 has them."""
    numbers = {name: row[name] for name in ("probabilities", "importance") if row[name] is not None}
    return row | {
        name: {key: None if value is None else round(value, 6) for key, value in values.items()}
        for name, values in numbers.items()
    }


def _print_table(rows: Sequence[Told]) -> None:
    """Print a line for each file: its class and the second one with their probabilities, what it rests on, words."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "class", "second", "rests on", "words", box=None, pad_edge=False)
    for row in rows:
        ranked = sorted((row["probabilities"] or {}).items(), key=lambda pair: -pair[1])[:2]
        said = [f"{name} {share:.2f}" for name, share in ranked] or ["-", "-"]
        cells = [row["file"], *said, row["rests_on"] or "-", row["transcript"] or "-"]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    console = Console(width=None if sys.stdout.isatty() else 10_000)  # in a file or a pipe, a file has one line
    console.print(table)
    for row in rows:
        if row["problem"] is not None:
            console.print(Text(printable(f"{row['file']}: {row['problem']}")), soft_wrap=True)
