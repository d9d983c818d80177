"""Turn a decoded frame into the picture that a player shows: pixels square, mirrored and turned as the file says.

Two values of a file say how its frames are shown. The sample aspect ratio is the width of a pixel in heights of a
pixel. The display matrix says where the axes of the coded frame point to on the screen; its eight orientations are
the four turns by 90 degrees, each with and without a mirror. A matrix that turns by another angle counts as the
nearest of the eight. The aspect ratio is applied first, since it is of the coded frame.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from mer_pipeline.base.errors import BadInput

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

MAX_PIXELS = 8192 * 8192
MAX_STRETCH = 4  # how many times as wide as high, or as high as wide, a pixel may be

# What x and y of the screen grow with: (x by column, x by row, y by column, y by row) of the coded frame.
Axes = tuple[int, int, int, int]
UPRIGHT: Axes = (1, 0, 0, 1)


def shown_size(frame: VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
    """Return the width and height of a frame as it is shown, in pixels.

    Args:
        frame: the frame.
        aspect: the sample aspect ratio of its stream; None if the file does not say, which means square pixels.

    Raises:
        BadInput: if the picture is too large, or its pixels are too far from square.
    """
    width, height = _square(frame.width, frame.height, aspect)
    return (width, height) if axes_of(frame)[0] else (height, width)


def upright(frame: VideoFrame, aspect: Fraction | None) -> npt.NDArray[np.uint8]:
    """Return a frame as it is shown: (height, width, 3) uint8 RGB. Arguments and errors are those of `shown_size`."""
    size = _square(frame.width, frame.height, aspect)
    # Each frame would start threads of its own, hundreds in a long clip, and run into the decoding process's limits.
    rgb = np.asarray(frame.to_ndarray(format="rgb24", threads=1), dtype=np.uint8)
    if size != (frame.width, frame.height):
        rgb = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
    return orient(rgb, axes_of(frame))


def orient(rgb: npt.NDArray[np.uint8], axes: Axes) -> npt.NDArray[np.uint8]:
    """Turn and mirror a coded picture.

    Args:
        rgb: (rows, columns, 3) uint8.
        axes: where its axes point to.

    Example:
        >>> coded = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
        >>> orient(coded, (-1, 0, 0, 1))[..., 0].tolist()  # mirrored left-right
        [[2, 1, 0], [5, 4, 3]]
        >>> orient(coded, (0, -1, 1, 0))[..., 0].tolist()  # turned by 90 degrees clockwise
        [[3, 0], [4, 1], [5, 2]]
    """
    x_by_column, x_by_row, y_by_column, y_by_row = axes
    if not x_by_column:
        rgb = rgb.swapaxes(0, 1)
    return rgb[:: y_by_row or y_by_column, :: x_by_column or x_by_row]


def axes_of(frame: VideoFrame) -> Axes:
    """Read where the axes of a coded frame point to from its display matrix. A frame without one is upright."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV cannot list side data of a kind that it does not know; the frame's rotation it can tell
        turns = [UPRIGHT, (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]  # counterclockwise
        return turns[round(frame.rotation / 90) % 4]
    if data is None:
        return UPRIGHT
    # Nine numbers: x = a * column + c * row + ..., y = b * column + d * row + ..., in the order a, b, _, c, d.
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()  # type: ignore[call-overload]
    if a * d == b * c:  # no turn at all: the matrix is broken, as where all of it is 0
        return UPRIGHT
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (1 if a >= 0 else -1), 0, 0, (1 if d >= 0 else -1)
    return 0, (1 if c >= 0 else -1), (1 if b >= 0 else -1), 0


def _square(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Return the size of a coded frame with square pixels. A frame is stretched and never shrunk."""
    if aspect is not None and aspect > 0:
        if not 1 / MAX_STRETCH <= aspect <= MAX_STRETCH:
            raise BadInput(f"the file's pixels are said to be {float(aspect):g} times as wide as high; convert it")
        width, height = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    if width * height > MAX_PIXELS:
        raise BadInput(f"frames of {width}x{height} are larger than {MAX_PIXELS} pixels")
    return width, height
