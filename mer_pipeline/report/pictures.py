"""Small pictures that live inside the page: JPEG thumbnails as data URIs, and the outline of a sound.

Every picture is decoded and encoded anew, so that nothing but pixels of ours reaches the page, and none is larger
than LIMIT bytes: with the gallery's size that bounds the page.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from mer_pipeline.base.errors import StageError

LIMIT = 24_000  # bytes of one JPEG
QUALITIES = (70, 50, 30, 15)
BINS = 160  # of a sound's outline


def thumbnail(jpeg: bytes, side: int, what: str) -> str:
    """A JPEG as a data URI of at most `side` pixels and LIMIT bytes.

    Raises:
        StageError: the bytes are no JPEG; `what` names them.
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
    """The `d` of an SVG path: the loudest sample of each of BINS spans of time, about y = 50 in 0..100.

    Scaled to the clip's own peak, so it shows when sound was made, not how loud.
    """
    samples = np.abs(np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float32))
    spans = np.array_split(samples, min(BINS, len(samples))) if len(samples) else []
    peak = float(samples.max()) if len(samples) else 0.0
    heights = [max(1.0, 48.0 * float(span.max()) / peak) if peak else 1.0 for span in spans]
    step = 800 / max(1, len(heights))
    return "".join(f"M{(at + 0.5) * step:.0f} {50 - h:.0f}V{50 + h:.0f}" for at, h in enumerate(heights))
