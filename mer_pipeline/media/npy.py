"""Read .npy files that other people made. Their headers are hostile until parsed, and nothing is ever unpickled."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from mer_pipeline.base.errors import BadInput, Transient

MAX_SIDE = 4096  # pixels of a picture in an array


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether in Fortran order, and type; the file is then where the numbers begin.

    Raises:
        BadInput: it is no .npy file.
    """
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, fortran, kind = npy_format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, kind = npy_format.read_array_header_2_0(file)
        else:
            raise BadInput(f"a .npy file of version {version[0]}.{version[1]}, which no array of numbers needs")
    # What the parser of Python literals behind it says to hostile text.
    except (ValueError, SyntaxError, TypeError, TokenError, RecursionError, MemoryError, OverflowError) as error:
        raise BadInput(f"no readable .npy file: {' '.join(str(error).split())[:120]}") from None
    if any(size < 0 for size in shape):
        raise BadInput(f"an array of shape {shape}")
    return shape, fortran, kind


def read_some_pictures(
    path: Path, choose: Callable[[int], npt.NDArray[np.int64]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The chosen pictures of an array (T, height, width, 3) uint8; the others are not read.

    Args:
        path: the file.
        choose: from T, which is not 0, the indices of those wanted, ascending.

    Returns:
        The indices, and (chosen, height, width, 3) uint8.

    Raises:
        BadInput: it is no such array, or torn.
        Transient: the disk failed.
    """
    try:
        with path.open("rb") as file:
            shape, fortran, kind = read_header(file)
            start = file.tell()
            if kind != np.uint8 or len(shape) != 4 or shape[3] != 3 or fortran or max(shape[1:3]) > MAX_SIDE:
                raise BadInput(f"an array {shape} of {kind}; pictures are (T, height, width, 3) of uint8")
            there = os.fstat(file.fileno()).st_size - start
            if prod(shape) != there:
                raise BadInput(f"the file is torn: its header says {shape}, and {there} bytes follow; copy it again")
            if not prod(shape):
                return np.zeros(0, np.int64), np.zeros((0, *shape[1:]), np.uint8)
            indices, size = choose(shape[0]), prod(shape[1:])
            pictures = []
            for at in indices.tolist():
                file.seek(start + at * size)
                pictures.append(np.frombuffer(file.read(size), np.uint8).reshape(shape[1:]))
            return indices, np.stack(pictures)
    except OSError as error:
        raise Transient(f"the file cannot be read: {error.strerror}") from None
