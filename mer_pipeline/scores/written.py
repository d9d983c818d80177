"""Metric files and plots as DVC reads them: their bytes depend on the values alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mer_pipeline.atomic import atomic_write


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a metric file: keys sorted."""
    atomic_write(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV as DVC plots and the official scorer read it: UTF-8, newline-ended lines."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    atomic_write(path, text.getvalue())
