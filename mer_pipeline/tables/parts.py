"""A table in any number of Parquet files, as one side of `compare_tables`.

Its keys are read first, and then single rows by their places. A part may lie anywhere that can be opened as a seekable
file. To read a row, only its row group is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.errors import StageError
from mer_pipeline.tables.shards import open_here


@dataclass(frozen=True)
class Part:
    """One Parquet file of a table.

    Attributes:
        path: the file's path, for messages. Its last component is the same for corresponding parts of two tables.
        open: opens the file, which must be seekable.
        size: the size in bytes; None if it is not known without reading the file.
        etag: a tag that is equal for equal bytes; None if it is not known without reading the file.
    """

    path: str
    open: Callable[[], IO[bytes]]
    size: int | None = None
    etag: str | None = None

    @contextmanager
    def parquet(self) -> Iterator[pq.ParquetFile]:
        """Open the file.

        Raises:
            StageError: the file cannot be read as Parquet.
        """
        with self.open() as file:
            try:
                yield open_here(file)
            except (pa.ArrowException, OSError) as error:
                reason = " ".join(str(error).split())
                raise StageError(f"{self.path} is torn or no Parquet file ({reason}); make it again") from None


class ParquetSide:
    """A table in any number of parts, as one side of `compare_tables`.

    Raises:
        StageError: a part cannot be read as Parquet, or its columns are not those of the first part.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts, self.schema = parts, pa.schema([])
        for part in parts:
            with part.parquet() as file:
                if self.schema.names and set(self.schema.names) != set(file.schema_arrow.names):
                    raise StageError(f"{part.path} has other columns than {parts[0].path}; make them again")
                self.schema = self.schema if self.schema.names else file.schema_arrow

    def keys(self, columns: Iterable[str]) -> pl.DataFrame:
        """As `Side.keys`."""
        nothing = {"__part": pl.Int64, "__row": pl.Int64, **({} if self.parts else dict.fromkeys(columns, pl.String))}
        frames = [pl.DataFrame(schema=nothing)]
        for at, part in enumerate(self.parts):
            with part.parquet() as file:
                table = file.read([name for name in columns if name in self.schema.names], use_threads=False)
                table = table.append_column("__row", pa.array(np.arange(file.metadata.num_rows)))
            frames.append(pl.DataFrame(pl.from_arrow(table)).with_columns(pl.lit(at, pl.Int64).alias("__part")))
        return pl.concat(frames, how="diagonal_relaxed")

    def take(self, parts: pl.Series, rows: pl.Series, columns: list[str]) -> pa.Table:
        """As `Side.take`. Only the row groups of these rows are read."""
        number, row = parts.to_numpy(), rows.to_numpy()
        tables, order = [], []
        for at in np.unique(number):
            with self.parts[at].parquet() as file:
                sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                starts = np.cumsum([0, *sizes])
                mine = np.flatnonzero(number == at)
                groups = np.searchsorted(starts, row[mine], side="right") - 1
                for group in np.unique(groups):
                    chosen = mine[groups == group]
                    found = file.read_row_group(int(group), columns=columns, use_threads=False)
                    tables.append(found.take(pa.array(row[chosen] - starts[group])))
                    order.append(chosen)
        back = pa.array(np.argsort(np.concatenate(order)))
        return pa.concat_tables(tables, promote_options="permissive").take(back).combine_chunks()
