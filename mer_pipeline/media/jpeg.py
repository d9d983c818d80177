"""Encode pictures as JPEG, decode them, and scale them down."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from mer_pipeline.base.errors import BadInput


def encode(rgb: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Encode a picture as baseline JPEG with 4:2:0 chroma subsampling.

    Args:
        rgb: (height, width, 3) uint8.
        quality: of the JPEG, from 1 to 100.
    """
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality, subsampling=2, optimize=False, progressive=False)
    return out.getvalue()


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode JPEG bytes to a picture: (height, width, 3) uint8 RGB.

    Raises:
        BadInput: if the bytes are not a readable JPEG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError):
        raise BadInput("a stored picture is no readable JPEG; run the stage that made it again") from None


def size(data: bytes) -> tuple[int, int]:
    """Read the width and height of a JPEG from its header, in pixels.

    Raises:
        BadInput: if the bytes are not a readable JPEG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return image.size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError):
        raise BadInput("a stored picture is no readable JPEG; run the stage that made it again") from None


def shrink(rgb: npt.NDArray[np.uint8], max_side: int) -> npt.NDArray[np.uint8]:
    """Scale a picture down so that its longer side has at most `max_side` pixels. A smaller picture stays as it is.

    Example:
        >>> shrink(np.zeros((100, 200, 3), np.uint8), 50).shape
        (25, 50, 3)
    """
    height, width = rgb.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
