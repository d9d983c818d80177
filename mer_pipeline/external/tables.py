"""Read tables and folders of external features.

    .parquet    a column `name` (or clip_id) and a column of lists of numbers, one list per clip; null means absent
    .csv        a column `name` and one column per number; a row without any number means absent
    folder      files {clip}.npy (`npy.py`)

Each is read to a table with the columns `clip_id`, `content` and `path` (of an array) or `vector`. `content` is a
digest of what the clip has there; if it changes, the clip's row is computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mer_pipeline.base.csv_files import clean, known, read_csv
from mer_pipeline.base.errors import DatasetError, did_you_mean
from mer_pipeline.external.npy import length_of_arrays, list_arrays, read_folder_of_arrays
from mer_pipeline.tables.rows import digest

Vector = npt.NDArray[np.float64]


def length_of(place: Path, column: str | None) -> int:
    """Return the most frequent length of a clip's vector.

    Args:
        place: a .parquet or .csv file, or a folder.
        column: the column of lists, or the beginning of the columns' names; None if params.yaml names none.

    Raises:
        DatasetError: if the table is missing, is not as described above, or has no vector.
    """
    if place.is_dir():
        return length_of_arrays(place)
    lengths = [len(cell) for cell in _vectors(read_table(place, column)["vector"]) if cell is not None]
    if not lengths or max(lengths) == 0:
        raise DatasetError(f"{place} has no row with numbers; is it the right table, and the right column?")
    values, counts = np.unique(lengths, return_counts=True)
    return int(values[counts.argmax()])


def names_of(place: Path) -> list[str]:
    """Return all names in a table or folder, unmatched ones too.

    Raises:
        DatasetError: as for `length_of`.
    """
    if place.is_dir():
        return list(list_arrays(place))
    if place.suffix == ".csv":
        return [row["name"] for row in read_csv(place, ("name",))]
    file = _open(place)
    return _names(place, file)


def read_place(place: Path, column: str | None) -> pa.Table:
    """Read a table or a folder to one row per name.

    Returns:
        A table with the columns clip_id, content, and path (for a folder) or vector (for a table).

    Raises:
        DatasetError: as for `length_of`.
    """
    return read_folder_of_arrays(place) if place.is_dir() else read_table(place, column)


def read_table(place: Path, column: str | None) -> pa.Table:
    """Read a .parquet or .csv to one row per name.

    Returns:
        A table with the columns clip_id, content and vector (a list of numbers, or null).

    Raises:
        DatasetError: if the file is missing, cannot be read, lacks a column, has a name twice, or has a cell that is
            not a number.
    """
    if place.suffix == ".csv":
        return _read_csv(place, column or "")
    if place.suffix != ".parquet":
        raise DatasetError(f"{place} is no folder, .parquet or .csv; see the encoder's input in params.yaml")
    file = _open(place)
    name = _list_column(place, file.schema_arrow, column)
    try:
        vectors = file.read([name])[name]
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{place} is torn ({' '.join(str(error).split())}); copy it again") from None
    content = [digest(cell) for cell in _vectors(vectors)]
    return pa.table({"clip_id": _names(place, file), "content": content, "vector": vectors})


def _open(place: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(place)
    except FileNotFoundError:
        raise DatasetError(f"{place} is missing; see the encoder's input in params.yaml") from None
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{place} cannot be read as Parquet ({' '.join(str(error).split())})") from None


def _names(place: Path, file: pq.ParquetFile) -> list[str]:
    key = next((key for key in ("name", "clip_id") if key in file.schema_arrow.names), None)
    if key is None:
        raise DatasetError(f"{place}: no column 'name'{did_you_mean('name', file.schema_arrow.names)}")
    cells = file.read([key])[key].to_pylist()
    names = [clean(cell) if isinstance(cell, str) else "" for cell in cells]
    if not all(names):
        raise DatasetError(f"{place}, row {names.index('') + 1}: '{key}' is empty or no text")
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise DatasetError(f"{place}: '{twice}' stands there twice; keep one of the rows")
    return names


def _list_column(place: Path, schema: pa.Schema, column: str | None) -> str:
    lists: list[str] = [field.name for field in schema if _is_list_of_numbers(field.type)]
    if column is None:
        if len(lists) != 1:
            said = f"has {len(lists)} columns of lists of numbers ({', '.join(lists)})" if lists else "has none"
            raise DatasetError(f"{place} {said}; say which one is meant with `column:` in params.yaml")
        return lists[0]
    if column not in schema.names:
        raise DatasetError(f"{place}: no column '{column}'{did_you_mean(column, lists)}")
    if column not in lists:
        raise DatasetError(
            f"{place}: column '{column}' is {schema.field(column).type}, not one list of numbers per clip"
        )
    return column


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)))


def _vectors(column: pa.ChunkedArray) -> list[npt.NDArray[np.generic] | None]:
    """Turn each list of a column into an array, without making Python numbers; a null becomes None."""
    found: list[npt.NDArray[np.generic] | None] = []
    for chunk in column.chunks:
        lengths = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False)
        flat = chunk.flatten().to_numpy(zero_copy_only=False)  # leaves out null lists
        cells = np.split(flat, np.cumsum(lengths)[:-1]) if len(chunk) else []
        found += [cell if there else None for cell, there in zip(cells, chunk.is_valid().to_pylist(), strict=True)]
    return found


def _read_csv(place: Path, prefix: str) -> pa.Table:
    names: list[str] = []
    vectors: list[Vector | None] = []
    columns: list[str] | None = None
    for row in read_csv(place, ("name",)):
        if columns is None:
            columns = [key for key in row if key != "name" and key.startswith(prefix)]
            if not columns:
                raise DatasetError(f"{place}: no column begins with '{prefix}'{did_you_mean(prefix, row)}")
        names.append(row["name"])
        vectors.append(_numbers(row, columns, place))
    cells = pa.array([None if vector is None else vector.tolist() for vector in vectors], pa.list_(pa.float64()))
    return pa.table({"clip_id": names, "content": [digest(vector) for vector in vectors], "vector": cells})


def _numbers(row: Mapping[str, str], columns: Sequence[str], place: Path) -> Vector | None:
    """A row's numbers, NaN where a cell is empty; None where all are."""
    cells = {column: known(row[column]) for column in columns}
    if not any(cells.values()):
        return None
    found = []
    for column, cell in cells.items():
        try:
            found.append(np.nan if cell is None else float(cell))
        except ValueError:
            raise DatasetError(
                f"{place}, '{row['name']}': '{column}' is '{cell}', which is no number; name the beginning of the "
                "features' columns with `column:`"
            ) from None
    return np.array(found)
