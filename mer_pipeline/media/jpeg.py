"""Pictures as JPEG bytes and back."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from mer_pipeline.base.errors import BadInput


def encode(rgb: npt.NDArray[np.uint8], quality: int) -> bytes:
    """(height, width, 3) uint8 RGB to JPEG bytes (4:2:0, baseline)."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality, subsampling=2, optimize=False, progressive=False)
    return out.getvalue()


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """JPEG bytes to (height, width, 3) uint8 RGB.

    Raises:
        BadInput: they are no JPEG.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError):
        raise BadInput("a stored picture is no readable JPEG; run the stage that made it again") from None


def shrink(rgb: npt.NDArray[np.uint8], max_side: int) -> npt.NDArray[np.uint8]:
    """Scale a picture down so that its longer side is at most `max_side` pixels; never up."""
    height, width = rgb.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
