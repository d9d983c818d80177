"""Compare two Arrow arrays value by value, at any depth of nesting.

The result says for each pair whether its values are equal, whether they are equal within a tolerance, and how far apart
they are. Floats are compared as by `numpy.isclose(a, b, rtol=tolerance, atol=tolerance)`, with NaN equal to NaN. All
other values are compared exactly. The type of a column is not a part of its values: 1.0 as float16 equals 1.0 as
float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Cells(NamedTuple):
    """The comparison of n pairs of values a and b; every field has shape (n,).

    Attributes:
        exact: whether the pair is equal.
        close: whether the pair is equal within the tolerance.
        absolute: the largest absolute difference |a - b| in the pair; NaN where there is no number.
        relative: the largest relative difference |a - b| / |b| in the pair; NaN where there is no number.
    """

    exact: Flags
    close: Flags
    absolute: Floats
    relative: Floats


WORST = (np.logical_and, np.logical_and, np.fmax, np.fmax)  # how to combine each field of several Cells


def compare_values(a: pa.Array, b: pa.Array, tolerance: float) -> Cells:
    """Compare n values with n others, at any depth of nesting. Null equals null.

    Args:
        a: n values.
        b: n values, to which relative differences refer.
        tolerance: the relative and absolute tolerance for floats.

    Example:
        >>> a, b = pa.array([[1.0, 2.0], [3.0], None]), pa.array([[1.0, 2.5], [3.0], None])
        >>> cells = compare_values(a, b, tolerance=0.0)
        >>> cells.exact.tolist(), cells.absolute.tolist()
        ([False, True, True], [0.5, 0.0, nan])
    """
    has_a, has_b = (array.is_valid().to_numpy(zero_copy_only=False) for array in (a, b))
    cells = _all_or_nothing(has_a == has_b)
    both = has_a & has_b
    if both.any():
        rows = pa.array(both)
        for whole, part in zip(cells, _present(a.filter(rows), b.filter(rows), tolerance), strict=True):
            whole[both] = part
    return cells


def _all_or_nothing(equal: Flags) -> Cells:
    """Return the comparison of pairs that are either equal or not, without a difference as a number."""
    return Cells(equal, equal.copy(), *np.full((2, len(equal)), np.nan))


def _present(a: pa.Array, b: pa.Array, tolerance: float) -> Cells:
    """Compare values that are all present (not null)."""
    a, b = (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array for array in (a, b))
    kinds: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array, pa.Array, float], Cells]]]
    kinds = [(_is_list, _lists), (pa.types.is_struct, _structs), (_is_number, _numbers)]
    for is_kind, compare in kinds:
        if is_kind(a.type) and is_kind(b.type):
            return compare(a, b, tolerance)
    try:
        exact = pc.equal(a, b).to_numpy(zero_copy_only=False)
    except pa.ArrowException:  # the arrays have types that Arrow cannot compare with each other
        exact = np.array([x == y for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True)], np.bool_)
    return _all_or_nothing(exact)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _numbers(a: pa.Array, b: pa.Array, tolerance: float) -> Cells:
    x, y = (array.to_numpy(zero_copy_only=False) for array in (a, b))
    p, q = x.astype(np.float64), y.astype(np.float64)
    exact = (x == y) | (np.isnan(p) & np.isnan(q))
    with np.errstate(all="ignore"):
        absolute = np.where(exact, 0.0, np.abs(p - q))
        relative = np.where(exact, 0.0, absolute / np.abs(q))
    floats = pa.types.is_floating(a.type) or pa.types.is_floating(b.type)
    close = exact | (np.isclose(p, q, rtol=tolerance, atol=tolerance) if floats else False)
    return Cells(exact, close, absolute, relative)


def _lists(a: pa.Array, b: pa.Array, tolerance: float) -> Cells:
    length, other = (pc.list_value_length(array).to_numpy(zero_copy_only=False) for array in (a, b))
    alike = length == other
    rows = pa.array(alike)
    inner = compare_values(a.filter(rows).flatten(), b.filter(rows).flatten(), tolerance)
    cells = _all_or_nothing(alike)
    filled = np.flatnonzero(alike & (length > 0))
    if len(filled):
        starts = np.cumsum(length[filled]) - length[filled]
        for whole, part, function in zip(cells, inner, WORST, strict=True):
            whole[filled] = function.reduceat(part, starts)
    return cells


def _structs(a: pa.Array, b: pa.Array, tolerance: float) -> Cells:
    names = [field.name for field in a.type]
    alike = np.full(len(a), set(names) == {field.name for field in b.type})
    cells = _all_or_nothing(alike)
    for name in names if alike.any() else ():
        inner = compare_values(pc.struct_field(a, name), pc.struct_field(b, name), tolerance)
        for whole, part, function in zip(cells, inner, WORST, strict=True):
            function(whole, part, out=whole)
    return cells
