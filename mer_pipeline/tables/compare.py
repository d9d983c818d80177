"""Compare two tables by value, with a tolerance: how many rows differ, in which columns, and by how much.

Rows are matched by their natural key, which is the clip and, if a clip has several rows, also the source, head or fold.
Only keys and digests are read for the whole table. Rows with equal digests are equal; the values of the other rows are
read 256 rows at a time. `cells.py` defines when two values are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from mer_pipeline.tables.cells import Flags, compare_values

# Columns that can make up the natural key. The key is the shortest beginning of this list that tells all rows apart.
KEYS = ("clip_id", "path", "source", "head", "held_out_fold", "fold", "seed", "error", "message")
DIGESTS = ("digest", "input_digest")
CHUNK = 256  # number of rows whose values are in memory at once
EXAMPLES = 5  # number of examples that a TableDiff keeps


class Side(Protocol):
    """One of two tables that are compared, wherever it lies. If this side has no such table, its schema is empty."""

    schema: pa.Schema

    def keys(self, columns: Iterable[str]) -> pl.DataFrame:
        """Return some columns of all rows, as far as the table has them.

        The result also says where each row lies: in the columns `__part` (number of the file) and `__row` (number
        of the row in the file).
        """

    def take(self, parts: pl.Series, rows: pl.Series, columns: list[str]) -> pa.Table:
        """Return some columns of the rows at these places, in the order of the places, each column in one chunk.

        `parts` and `rows` are the columns `__part` and `__row` of `keys`.
        """


@dataclass(frozen=True)
class Example:
    """One value that differs.

    Attributes:
        table: the name of the table.
        row: the name of the row: the clip, and the source, head or fold if the clip has several rows.
        column: the name of the column.
        absolute, relative: the differences as in `Cells`; NaN where there is no number.
        a, b: the two values in short.
    """

    table: str
    row: str
    column: str
    absolute: float = np.nan
    relative: float = np.nan
    a: str = ""
    b: str = ""


@dataclass
class ColumnDiff:
    """The number of rows that differ in one column beyond the tolerance, and the largest differences among them."""

    rows: int = 0
    absolute: float = np.nan
    relative: float = np.nan


@dataclass
class TableDiff:
    """The result of comparing one table on two sides, A and B.

    A row that both sides have is counted once: in `equal`, `within`, `beyond` or `digest_only`.

    Attributes:
        table: the name of the table.
        rows_a, rows_b: the number of rows on each side.
        only_a, only_b: the number of rows that only this side has.
        equal: the number of rows whose values are equal.
        within: the number of rows that differ, but within the tolerance.
        beyond: the number of rows that differ beyond the tolerance.
        digest_only: the number of rows with equal values and different digests; counted only with tolerance 0.
        one_sided_differs: whether a row or column that only one side has counts as a difference.
        missing: the names of some rows that only one side has.
        columns_a, columns_b: the columns that only this side has.
        columns: the differences in each column, by the column's name.
        examples: some values that differ, the largest differences first.
        notes: remarks that do not count as differences.
    """

    table: str
    rows_a: int = 0
    rows_b: int = 0
    only_a: int = 0
    only_b: int = 0
    equal: int = 0
    within: int = 0
    beyond: int = 0
    digest_only: int = 0
    one_sided_differs: bool = True
    missing: list[str] = field(default_factory=list)
    columns_a: list[str] = field(default_factory=list)
    columns_b: list[str] = field(default_factory=list)
    columns: dict[str, ColumnDiff] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether the two sides differ beyond the tolerance."""
        one_sided = self.one_sided_differs and (self.only_a or self.only_b or self.columns_a or self.columns_b)
        return bool(self.beyond or self.digest_only or one_sided)

    def add(self, examples: Iterable[Example]) -> None:
        """Add examples, and keep the largest differences.

        A difference without a number counts as larger than any number, and a difference of the digest alone as smaller.
        """

        def size(example: Example) -> tuple[float, str, str]:
            without = -1.0 if example.column in DIGESTS else np.inf
            return -float(np.nan_to_num(example.absolute, nan=without, posinf=np.inf)), example.row, example.column

        self.examples = sorted([*self.examples, *examples], key=size)[:EXAMPLES]


def compare_tables(
    table: str, a: Side, b: Side, tolerance: float = 0.0, *, key: str | None = None, same: int = 0
) -> TableDiff:
    """Compare two tables.

    Args:
        table: the table's name, for the result.
        a: one side, A.
        b: the other side, B, to which relative differences refer.
        tolerance: the relative and absolute tolerance. Above 0, digests are not compared, because they differ as soon
            as a value differs at all.
        key: a column that alone identifies a row, for the tables of a store. Rows with the same key are then one row,
            the clip's name is not compared, and a row that only one side has is not a difference. None: the natural
            key.
        same: the number of further rows that are known to be equal, and are in neither `a` nor `b`.

    Raises:
        StageError: a part of a side cannot be read.
    """
    diff = TableDiff(table, rows_a=same, rows_b=same, equal=same, one_sided_differs=key is None)
    _note_columns(diff, a.schema, b.schema, tolerance)
    keys, rows_a, rows_b = _keyed(a, b, key)
    diff.rows_a, diff.rows_b = same + len(rows_a), same + len(rows_b)
    on = [*keys, "__repeat"]
    only_a = rows_a.join(rows_b, on=on, how="anti", nulls_equal=True)
    only_b = rows_b.join(rows_a, on=on, how="anti", nulls_equal=True)
    diff.only_a, diff.only_b = len(only_a), len(only_b)
    for name, only in (("A", only_a), ("B", only_b)):
        diff.missing += [f"{row} only in {name}" for row in _row_names(only.head(EXAMPLES), keys)]
    both = rows_a.join(rows_b, on=on, nulls_equal=True, suffix="__b").sort("__part", "__row")
    digests = [name for name in DIGESTS if name not in keys and {name, f"{name}__b"} <= set(both.columns)]
    rest = _settle_by_digest(diff, both, keys, digests, tolerance)
    columns = [n for n in a.schema.names if n in b.schema.names and n not in {*keys, *DIGESTS, "clip_id"}]
    for at in range(0, len(rest), CHUNK):
        some = rest[at : at + CHUNK]
        values_a = a.take(some["__part"], some["__row"], columns)
        values_b = b.take(some["__part__b"], some["__row__b"], columns)
        stale = _stale(some, digests) if tolerance == 0 else np.zeros(len(some), np.bool_)
        _count(diff, _row_names(some, keys), values_a, values_b, stale, tolerance)
    return diff


def _note_columns(diff: TableDiff, a: pa.Schema, b: pa.Schema, tolerance: float) -> None:
    """Record the columns that only one side has, and the columns whose types differ."""
    if not (a.names and b.names):
        return
    ignored = set(DIGESTS) if tolerance else set()
    diff.columns_a = [name for name in a.names if name not in {*b.names, *ignored}]
    diff.columns_b = [name for name in b.names if name not in {*a.names, *ignored}]
    for name in a.names:
        if name in b.names and a.field(name).type != b.field(name).type:
            diff.notes.append(f"{name} is {a.field(name).type} in A and {b.field(name).type} in B")


def _keyed(a: Side, b: Side, key: str | None) -> tuple[list[str], pl.DataFrame, pl.DataFrame]:
    """Return the key columns, and for each side a frame with the keys as text, the digests and the rows' places.

    Rows with equal keys are numbered (`__repeat`) in the order of their other columns that are not nested.
    """
    sides = [side for side in (a, b) if side.schema.names]
    known = [name for name in ([key] if key else KEYS) if all(name in side.schema.names for side in sides)]
    frame_a, frame_b = (side.keys([*known, *DIGESTS, *(["clip_id"] if key else [])]) for side in (a, b))
    if key:
        frame_a, frame_b = (frame.unique(subset=key, keep="first", maintain_order=True) for frame in (frame_a, frame_b))
    for count in range(1, len(known) + 1):
        keys = known[:count]
        if not any(frame.select(keys).is_duplicated().any() for frame in (frame_a, frame_b) if len(frame)):
            return keys, _places(frame_a, keys), _places(frame_b, keys)
    simple = [f.name for side in sides for f in side.schema if not pa.types.is_nested(f.type)]
    order = list(dict.fromkeys([*(name for name in simple if name not in DIGESTS), *DIGESTS]))
    frame_a, frame_b = (_sorted(side.keys(order), order) for side in (a, b))
    return known, _places(frame_a, known), _places(frame_b, known)


def _sorted(frame: pl.DataFrame, order: list[str]) -> pl.DataFrame:
    columns = [name for name in order if name in frame.columns]
    return frame.sort(columns) if columns else frame


def _places(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    texts = frame.with_columns(pl.col(name).cast(pl.String) for name in keys)
    number = pl.int_range(pl.len()).over(keys) if keys else pl.int_range(pl.len())
    kept = [name for name in ("clip_id", *DIGESTS, "__part", "__row") if name in frame.columns and name not in keys]
    return texts.select(*keys, number.alias("__repeat"), *kept)


def _row_names(rows: pl.DataFrame, keys: list[str]) -> list[str]:
    """Return names of rows for messages; each begins with the clip."""
    names = []
    for row in rows.to_dicts():
        shown = [f"{key}={row[key]}" if key in KEYS[2:] else str(row[key]) for key in keys]
        shown = [f"{row['clip_id']} (input {row[keys[0]]})"] if keys == ["input_digest"] else shown
        names.append(", ".join(shown + ([f"number {row['__repeat'] + 1}"] if row["__repeat"] or not keys else [])))
    return names


def _stale(rows: pl.DataFrame, digests: Sequence[str]) -> Flags:
    """Return which rows have a digest that differs between the two sides."""
    stale = np.zeros(len(rows), np.bool_)
    for name in digests:
        stale |= rows[name].ne_missing(rows[f"{name}__b"]).to_numpy()
    return stale


def _settle_by_digest(
    diff: TableDiff, both: pl.DataFrame, keys: list[str], digests: list[str], tolerance: float
) -> pl.DataFrame:
    """Count the rows whose digest is the same on both sides, and return the other rows."""
    if "digest" not in digests:
        return both
    other = _stale(both, ["digest"])
    moved = ~other & _stale(both, digests if tolerance == 0 else ["digest"])
    diff.equal += int((~other & ~moved).sum())
    _digest_only(diff, "input_digest", _row_names(both.filter(moved), keys))
    return both.filter(other)


def _digest_only(diff: TableDiff, column: str, names: Sequence[str]) -> None:
    diff.digest_only += len(names)
    diff.add(Example(diff.table, name, column) for name in names[:EXAMPLES])


def _count(diff: TableDiff, names: list[str], a: pa.Table, b: pa.Table, stale: Flags, tolerance: float) -> None:
    """Compare the values of n rows, and count each row in `diff`.

    Args:
        diff: the result that is added to.
        names: the names of the rows.
        a: the values of side A.
        b: the values of side B.
        stale: (n,), whether a digest of the row differs between the sides.
        tolerance: as in `compare_tables`.
    """
    exact, close = np.ones((2, len(names)), np.bool_)
    for column in a.column_names:
        x, y = a[column].chunk(0), b[column].chunk(0)
        cells = compare_values(x, y, tolerance)
        exact, close = exact & cells.exact, close & cells.close
        far = np.flatnonzero(~cells.close)
        if not len(far):
            continue
        found = diff.columns.setdefault(column, ColumnDiff())
        found.rows += len(far)
        found.absolute = float(np.fmax(found.absolute, np.fmax.reduce(cells.absolute[far])))
        found.relative = float(np.fmax(found.relative, np.fmax.reduce(cells.relative[far])))
        largest = far[np.argsort(-np.nan_to_num(cells.absolute[far], nan=np.inf, posinf=np.inf), kind="stable")]
        for at in largest[:EXAMPLES]:
            size = float(cells.absolute[at]), float(cells.relative[at])
            diff.add([Example(diff.table, names[at], column, *size, short(x[at]), short(y[at]))])
    _digest_only(diff, "digest", [names[at] for at in np.flatnonzero(exact & stale)])
    diff.equal += int((exact & ~stale).sum())
    diff.within += int((close & ~exact).sum())
    diff.beyond += int((~close).sum())


def short(value: pa.Scalar) -> str:
    """Return a value in at most 40 characters. A list is shown by its length.

    Example:
        >>> short(pa.scalar([1, 2])), short(pa.scalar(0.5))
        ('2 values', '0.5')
    """
    if value.is_valid and pa.types.is_nested(value.type):
        return f"{len(value)} values" if not pa.types.is_struct(value.type) else ""
    plain = value.as_py()
    text = f"{len(plain)} bytes" if isinstance(plain, bytes) else repr(plain)
    return text if len(text) <= 40 else text[:39] + "…"
