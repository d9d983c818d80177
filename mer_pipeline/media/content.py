"""What a file shows and plays, as digests: files with equal ones are copies of one clip, in whatever container.

The opening of every file is known: the first picture (`probe`), or the first second of sound where there is no picture.
The whole content is decoded only where two openings are equal.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.media.container import open_media, sound_stream
from mer_pipeline.media.decode import Picture, read_pictures
from mer_pipeline.media.sound import SAMPLE_RATE, read_sound


def sound_opening(path: Path) -> str | None:
    """Hex digest of the first second of a file's sound; None where that cannot be decoded.

    Raises:
        Transient: the file cannot be read.
    """
    import av

    try:
        with open_media(path) as container:
            stream, resampler = sound_stream(container), av.AudioResampler("s16", "mono", SAMPLE_RATE)
            if stream is None or stream.codec_context is None:
                return None
            samples = b""
            for frame in container.decode(stream):
                samples += b"".join(piece.to_ndarray().tobytes() for piece in resampler.resample(frame))
                if len(samples) >= 2 * SAMPLE_RATE:
                    break
            return hashlib.sha256(samples[: 2 * SAMPLE_RATE]).hexdigest()
    except (BadInput, ValueError):  # a resampler refuses with ValueError what changes its kind midway
        return None


def pictures_digest(path: Path) -> str | None:
    """Hex digest of all pictures as they are shown; None where there are none.

    Raises:
        BadInput, Transient: as `read_pictures`.
    """
    whole = hashlib.sha256()
    try:
        for picture in read_pictures(path, lambda times, end: np.arange(len(times))):
            whole.update(_shown(picture))
    except Skip:
        return None
    return whole.hexdigest()


def sound_digests(path: Path, max_seconds: float) -> tuple[str, str] | None:
    """Hex digests of a file's sound, decoded and as it is packed; None where there is none.

    Where one codec's packets are copied into another container, either may be the equal one: containers disagree on
    how many of the first samples are to be cut away.

    Raises:
        BadInput, Transient: as `read_sound`.
    """
    try:
        decoded = hashlib.sha256(read_sound(path, max_seconds).tobytes()).hexdigest()
    except Skip:
        return None
    packed = hashlib.sha256()
    with open_media(path) as container:
        stream = sound_stream(container)
        assert stream is not None
        for packet in container.demux(stream):
            packed.update(bytes(packet))
    return decoded, packed.hexdigest()


def _shown(picture: Picture) -> bytes:
    return b"%d,%d:" % picture.rgb.shape[:2] + np.ascontiguousarray(picture.rgb).tobytes()
