"""The values of the demo split against those in `demo.json`, so that an upgrade or an edit that moves one is seen.

    python -m tests.golden.values            after `make repro`: exit code 1 and the names of what moved
    python -m tests.golden.values --accept   what is there now is wanted: write demo.json anew

A table counts by the digests of its rows. Where a CPU cannot be held to the same bytes (docs/numerics.md), a table
counts by the mean of each column and of its magnitude, within a tolerance, and so do scores.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base import numerics

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = Path(__file__).with_name("demo.json")
SAMPLE = "s01_0004"  # the clip whose rows tests/test_numerics.py computes
TABLES = ("frames", "tracks", "faces", "audio", "cues", "enriched")  # below data/, and all of data/features/
METRICS = ("metrics/train.json", "metrics/predict.json")
STATE = ("clip_id", "valid", "reason", "digest", "input_digest")
TABLE_TOLERANCE = 1e-4  # of a column's mean magnitude; measured: 5e-6 of a column's deviation
SCORE_TOLERANCE = 0.05  # a clip or two
ACCEPT = "python -m tests.golden.values --accept"

Golden = dict[str, dict[str, object]]


def golden_of(root: Path = ROOT) -> Golden:
    """What a project has computed: a table's digest, rows and columns' means; every weighted F1 of a metrics file."""
    folders = [root / "data" / name for name in TABLES] + sorted(root.glob("data/features/*"))
    found: Golden = {}
    for folder in filter(Path.is_dir, folders):
        table = pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("part-*.parquet")))
        found[folder.relative_to(root / "data").as_posix()] = table_golden(table)
    for name in METRICS:
        if (root / name).exists():
            found[name] = dict(scores(json.loads((root / name).read_text(encoding="utf-8"))))
    return found


def table_golden(table: pa.Table) -> dict[str, object]:
    """Digest over the sorted (clip_id, row digest) pairs, the sample's own, number of rows, and per column [mean, mean
    magnitude]."""
    pairs = sorted(zip(table["clip_id"].to_pylist(), table["digest"].to_pylist(), strict=True))
    means = {}
    for name in table.column_names:
        if name not in STATE:
            numbers = np.fromiter(_numbers(table[name].to_pylist()), float)
            numbers = numbers[np.isfinite(numbers)]
            if numbers.size:
                means[name] = [float(f"{value:.9g}") for value in (numbers.mean(), np.abs(numbers).mean())]
    whole = hashlib.sha256(repr(pairs).encode()).hexdigest()[:32]
    return {"digest": whole, "sample": dict(pairs).get(SAMPLE), "rows": len(pairs), "means": means}


def _numbers(value: object) -> Iterator[float]:
    """Of a cell, however deep; of bytes and text their length."""
    if isinstance(value, bytes | str):
        yield len(value)
    elif isinstance(value, bool | int | float):
        yield float(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _numbers(part)
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part)


def scores(metrics: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Every weighted F1 in a metrics file, by where it stands."""
    if isinstance(metrics, Mapping):
        for key, value in metrics.items():
            if key == "weighted_f1" and isinstance(value, float):
                yield path, value
            else:
                yield from scores(value, f"{path}.{key}".lstrip("."))


def moved(wanted: Golden, found: Golden, exact: frozenset[str]) -> list[str]:
    """A sentence for each table or metrics file that is not as wanted; those in `exact` to the last bit."""
    told = [f"{name} is new" for name in found.keys() - wanted.keys()]
    told += [f"{name} is gone" for name in wanted.keys() - found.keys()]
    for name in sorted(wanted.keys() & found.keys()):
        before, after = wanted[name], found[name]
        if name in METRICS:
            tolerance = 0.0 if name in exact else SCORE_TOLERANCE
            if before.keys() != after.keys():
                told.append(f"{name} has other scores: {', '.join(sorted(before.keys() ^ after.keys()))}")
            else:
                off = {key: (before[key], after[key]) for key in before if abs(before[key] - after[key]) > tolerance}  # type: ignore[operator]
                told += [f"{name}: {key} was {was}, is {now}" for key, (was, now) in off.items()]
        elif before["digest"] != after["digest"]:
            far = _far(before, after)
            if name in exact or far:
                told.append(f"data/{name} has other values" + (f": {far}" if far else ", in last digits"))
    return told


def _far(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """In which columns two tables differ beyond the tolerance."""
    was, now = before["means"], after["means"]
    assert isinstance(was, dict)
    assert isinstance(now, dict)
    if before["rows"] != after["rows"] or was.keys() != now.keys():
        return f"{before['rows']} rows of {', '.join(was)}; now {after['rows']} of {', '.join(now)}"
    limit = {name: TABLE_TOLERANCE * max(mean[1], 1e-9) for name, mean in was.items()}
    off = [name for name in was if np.abs(np.subtract(was[name], now[name])).max() > limit[name]]
    return ", ".join(f"the mean of {name} was {was[name][0]:g}, is {now[name][0]:g}" for name in off)


def held_here(names: frozenset[str]) -> tuple[frozenset[str], str]:
    """Which of these are equal to the last bit on this machine, and a sentence about the others."""
    if numerics.is_x86():
        return names, ""
    return frozenset(), "note: not an x86-64 CPU, so all values are compared within a tolerance"


def main(*words: str) -> int:
    """Compare, or `--accept`; the exit code."""
    found = golden_of()
    if not any((ROOT / "data").glob("features/*/part-*.parquet")):
        print("error: there are no tables in data/; run `make repro` first", file=sys.stderr)
        return 2
    if words == ("--accept",):
        if note := held_here(frozenset(found))[1]:
            print(f"error: {note.removeprefix('note: ')}; accept on an x86-64 machine", file=sys.stderr)
            return 2
        GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{GOLDEN.relative_to(ROOT)}: {len(found)} tables and metrics files")
        return 0
    wanted: Golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    exact, note = held_here(frozenset(wanted))
    if note:
        print(note)
    told = moved(wanted, found, exact)
    for line in told:
        print(f"error: {line}", file=sys.stderr)
    if told:
        print(f"If that is wanted, after `make repro`: {ACCEPT}", file=sys.stderr)
    else:
        print(f"the demo's values are those of {GOLDEN.relative_to(ROOT)}")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
