"""A folder of `{clip}.npy`, as the field keeps features: (D,) for a clip, or (T, D), a vector for each of T steps.

A file is somebody else's: only plain arrays of numbers are read, of one or two axes and up to MAX_BYTES, and only where
the header agrees with the file's size. Nothing in it is ever unpickled.
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
HEADER = 1 << 14  # bytes; numpy's own are 128
SAMPLE = 64  # files whose headers say how long a vector is

Values = npt.NDArray[np.generic]


def list_arrays(folder: Path) -> dict[str, Path]:
    """The files of a folder by the clip's name: the path below it without suffix.

    Raises:
        DatasetError: there is none, or two have one name.
    """
    found = files_below(folder, folder, SUFFIXES, "encoder's input")
    if not found:
        raise DatasetError(f"{folder} has no .npy files; set the encoder's input in params.yaml to the folder of them")
    return {name: folder / place for name, place in found.items()}


def read_folder_of_arrays(folder: Path) -> pa.Table:
    """One row per file: clip_id, content (its SHA-256) and path; nothing is parsed yet.

    Raises:
        DatasetError: as `list_arrays`.
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
    """D, as most of the first SAMPLE files have it; the smaller where two are as frequent.

    Raises:
        DatasetError: none of them is an array that can be read.
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
    """A listed file's numbers, (D,) or (T, D).

    Raises:
        BadInput: it is no such array.
        Transient: it is not the file that was listed, or cannot be read.
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
    """The numbers of a .npy file's bytes, (D,) or (T, D).

    Raises:
        BadInput: they are no plain array of one or two axes, or not all of one.
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
