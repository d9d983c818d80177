"""Read a folder of files `{clip}.npy`: an array (D,) for each clip, or (T, D) with a vector for each of T steps.

A file from elsewhere may be broken or malicious. Therefore only plain arrays of numbers are read, with one or two axes
and at most MAX_BYTES, and only if the header agrees with the size of the file. Nothing is unpickled.
"""

from __future__ import annotations

import io
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mer_pipeline.base.errors import BadInput, DatasetError, Transient
from mer_pipeline.media.container import UNREAD, file_sha256, listed_content
from mer_pipeline.media.files import files_below
from mer_pipeline.media.npy import read_header

SUFFIXES = frozenset({".npy"})
MAX_BYTES = 1 << 28
HEADER = 1 << 14  # bytes that are read for a header; a header that NumPy writes has 128
SAMPLE = 64  # number of files whose headers are read to learn the length of a vector

Values = npt.NDArray[np.generic]


def list_arrays(folder: Path) -> dict[str, Path]:
    """List the .npy files below a folder by name, which is the path below the folder without the suffix.

    Raises:
        DatasetError: if there is no such file, or two have one name.
    """
    found = files_below(folder, folder, SUFFIXES, "encoder's input")
    if not found:
        raise DatasetError(f"{folder} has no .npy files; set the encoder's input in params.yaml to the folder of them")
    return {name: folder / place for name, place in found.items()}


def read_folder_of_arrays(folder: Path) -> pa.Table:
    """Make a table with one row per file. No array is read yet.

    Returns:
        A table with the columns clip_id, content (the SHA-256 of the file, or UNREAD) and path.

    Raises:
        DatasetError: as for `list_arrays`.
    """
    files = list_arrays(folder)
    content = [_content(path) for path in files.values()]
    return pa.table({"clip_id": list(files), "content": content, "path": [str(path) for path in files.values()]})


def _content(path: Path) -> str:
    try:
        return file_sha256(path)
    except Transient:
        return UNREAD


def length_of_arrays(folder: Path) -> int:
    """Return the most frequent length D of a vector in the first SAMPLE files; the smallest of several such lengths.

    Raises:
        DatasetError: as for `list_arrays`; or if none of these files can be read.
    """
    lengths: list[int] = []
    problem = ""
    for path in list(list_arrays(folder).values())[:SAMPLE]:
        try:
            with path.open("rb") as file:
                shape = _header(io.BytesIO(file.read(HEADER)))[0]
            lengths.append(shape[-1])
        except (BadInput, OSError) as error:
            problem = problem or f"{path.name}: {error}"
    if not lengths:
        raise DatasetError(f"{folder}: none of its first files can be read ({problem}); save them with numpy.save")
    return min(set(lengths), key=lambda length: (-lengths.count(length), length))


def read_array(path: Path, content: object) -> Values:
    """Read the array of a listed file: (D,) or (T, D).

    Args:
        path: the file.
        content: its SHA-256 when it was listed.

    Raises:
        BadInput: if the file is not such an array, or is too large.
        Transient: if the file was altered or removed since it was listed, or cannot be read.
    """
    with listed_content(path, content):
        try:
            is_small = path.stat().st_size <= MAX_BYTES
            data = path.read_bytes() if is_small else b""
        except OSError as error:
            raise Transient(f"the file cannot be read: {error.strerror}") from None
        if not is_small:
            raise BadInput(f"the file has more than {MAX_BYTES >> 20} MB")
        return parse(data)


def parse(data: bytes) -> Values:
    """Read an array from the bytes of a .npy file.

    Returns:
        (D,) or (T, D), of the type in the file: integers or floats.

    Raises:
        BadInput: if the bytes are not a plain array of numbers with one or two axes, or are incomplete.

    Example:
        >>> file = io.BytesIO()
        >>> np.save(file, np.array([[1, 2], [3, 4]]))
        >>> parse(file.getvalue()).tolist()
        [[1, 2], [3, 4]]
    """
    file = io.BytesIO(data)
    shape, fortran, kind = _header(file)
    start = file.tell()
    if prod(shape) * kind.itemsize != len(data) - start:
        raise BadInput(f"the file is torn: its header says {shape} of {kind}, and {len(data) - start} bytes follow")
    flat = np.frombuffer(data, kind, offset=start)
    return flat.reshape(shape, order="F" if fortran else "C")


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, order and type; the file is then where the numbers begin."""
    shape, fortran, kind = read_header(file)
    if kind.kind not in "fiu":
        raise BadInput(f"an array of {kind}, not of numbers")
    if len(shape) not in (1, 2):
        raise BadInput(f"an array of shape {shape}; (D,) or (T, D) is needed")
    return shape, fortran, kind
