"""Small media files of every container that is read: what the mutations start from."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SECONDS, RATE, SIZE = 1, 12, (64, 48)

# Container, options of its muxer, codec of the picture, codec of the sound.
KINDS: dict[str, tuple[str, dict[str, str], str | None, str | None]] = {
    "mp4": ("mp4", {"movflags": "faststart"}, "libx264", "aac"),
    "mp4-end": ("mp4", {}, "libx264", "aac"),
    "mp4-hevc": ("mp4", {}, "libx265", "aac"),
    "mp4-fragments": ("mp4", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}, "libx264", "aac"),
    "mov": ("mov", {}, "mpeg4", "pcm_s16le"),
    "m4a": ("mp4", {}, None, "aac"),
    "avi": ("avi", {}, "mpeg4", "libmp3lame"),
    "avi-mjpeg": ("avi", {}, "mjpeg", "pcm_s16le"),
    "mkv": ("matroska", {}, "libx264", "aac"),
    "webm": ("webm", {}, "libvpx-vp9", "libopus"),
    "webm-vp8": ("webm", {}, "libvpx", "libopus"),
    "wav": ("wav", {}, None, "pcm_s16le"),
    "flac": ("flac", {}, None, "flac"),
    "mp3": ("mp3", {}, None, "libmp3lame"),
    "ogg": ("ogg", {}, None, "libopus"),
}


def make(kind: str) -> bytes:
    """A file of one second: pictures whose level counts, with B-frames where the codec has them, and a tone."""
    container, options, picture, sound = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        _write(path, container, options, picture, sound)
        return path.read_bytes()


def _write(path: Path, container: str, options: dict[str, str], picture: str | None, sound: str | None) -> None:
    with av.open(str(path), "w", format=container, options=options) as out:
        video = audio = None
        if picture is not None:
            quiet = {"x265-params": "log-level=none:pools=1"} if picture == "libx265" else {}
            video = out.add_stream(picture, rate=RATE, options={"g": "6", "threads": "1", **quiet})
            video.width, video.height = SIZE
            video.pix_fmt = "yuvj420p" if picture == "mjpeg" else "yuv420p"
        if sound is not None:
            rate = 48_000 if sound == "libopus" else 16_000
            audio = out.add_stream(sound, rate=rate, layout="mono")
        for at in range(SECONDS * RATE if video is not None else 0):
            frame = av.VideoFrame.from_ndarray(np.full((SIZE[1], SIZE[0], 3), 20 * at % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, RATE)
            out.mux(video.encode(frame))
        if video is not None:
            out.mux(video.encode(None))
        if audio is not None:
            wave = (8000 * np.sin(2 * np.pi * 220 * np.arange(SECONDS * rate) / rate)).astype(np.int16)
            whole = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            whole.sample_rate, whole.pts = rate, 0
            out.mux(audio.encode(whole))
            out.mux(audio.encode(None))
