"""Small pictures inside the page: JPEG thumbnails as data URIs, and outlines of sounds as SVG paths.

Every picture is decoded and encoded anew, so that only its pixels reach the page and no other content of the file.
LIMIT bounds the bytes of a picture, and thus the size of the page.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from mer_pipeline.base.errors import StageError

LIMIT = 24_000  # the most bytes of one JPEG, unless the lowest quality needs more
QUALITIES = (70, 50, 30, 15)
BINS = 160  # the number of strokes in the outline of a sound


def thumbnail(jpeg: bytes, side: int, what: str) -> str:
    """Return a JPEG picture as a data URI.

    Args:
        jpeg: the bytes of the picture.
        side: the longest side of the result, in pixels.
        what: the name of the picture, for error messages.

    Raises:
        StageError: the bytes are no JPEG picture.
    """
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as opened:
            opened.draft("RGB", (2 * side, 2 * side))
            picture = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise StageError(f"{what} is not a JPEG picture ({error}); make it again with `dvc repro`") from None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    data = b""
    for quality in QUALITIES:
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, optimize=True)
        data = out.getvalue()
        if len(data) <= LIMIT:
            break
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def outline(pcm: bytes) -> str:
    """Return the outline of a sound as the attribute `d` of an SVG path, 800 wide and 100 high.

    Each of BINS equal spans of time is a vertical stroke around y = 50, as long as its loudest sample. The outline is
    scaled to the peak of the clip, so it shows when there is sound and not how loud it is.

    Args:
        pcm: 16-bit little-endian samples of one channel.

    Example:
        >>> outline(np.array([0, 100], dtype="<i2").tobytes())
        'M200 49V51M600 2V98'
    """
    samples = np.abs(np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float32))
    spans = np.array_split(samples, min(BINS, len(samples))) if len(samples) else []
    peak = float(samples.max()) if len(samples) else 0.0
    heights = [max(1.0, 48.0 * float(span.max()) / peak) if peak else 1.0 for span in spans]
    step = 800 / max(1, len(heights))
    return "".join(f"M{(at + 0.5) * step:.0f} {50 - h:.0f}V{50 + h:.0f}" for at, h in enumerate(heights))
