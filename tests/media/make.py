"""Media files of every container, with pictures that carry their number and sound whose level is known."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

RED, GREEN, BLUE, YELLOW = (200, 40, 40), (40, 180, 40), (40, 40, 200), (220, 220, 60)
BITS = 6

# Codecs of picture and sound, and options of the muxer, for one film or sound file of each container.
CONTAINERS: Mapping[str, tuple[str | None, str, Mapping[str, str]]] = {
    "late_header.mp4": ("libx264", "aac", {}),
    "early_header.mp4": ("libx264", "aac", {"movflags": "faststart"}),
    "fragments.mp4": ("libx264", "aac", {"movflags": "frag_every_frame+empty_moov"}),
    "a.mov": ("libx264", "pcm_s16le", {"movflags": "faststart"}),
    "a.m4a": (None, "aac", {"movflags": "faststart"}),
    "a.avi": ("mpeg4", "libmp3lame", {}),
    "h264.avi": ("libx264", "libmp3lame", {}),
    "a.mkv": ("libx264", "aac", {}),
    "vp8.webm": ("libvpx", "libopus", {}),
    "vp9.webm": ("libvpx-vp9", "libopus", {}),
    "live.webm": ("libvpx", "libopus", {"live": "1"}),
    "a.wav": (None, "pcm_s16le", {}),
    "a.mp3": (None, "libmp3lame", {}),
    "bare.mp3": (None, "libmp3lame", {"id3v2_version": "0", "write_xing": "0"}),
    "a.flac": (None, "flac", {}),
    "a.ogg": (None, "libopus", {}),
}


def picture(number: int, size: tuple[int, int] = (160, 120)) -> npt.NDArray[np.uint8]:
    """Red, green, blue and yellow quadrants (top left, top right, bottom left, bottom right), with a number as blocks.

    The number stands above the middle, as six black or white blocks, the lowest bit first.
    """
    width, height = size
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2], rgb[: height // 2, width // 2 :] = RED, GREEN
    rgb[height // 2 :, : width // 2], rgb[height // 2 :, width // 2 :] = BLUE, YELLOW
    for bit in range(BITS):
        rgb[_block(bit, width, height)] = 255 * (number >> bit & 1)
    return rgb


def number_of(rgb: npt.NDArray[np.uint8]) -> int:
    """The number that `picture` wrote."""
    height, width = rgb.shape[:2]
    return sum(int(rgb[_block(bit, width, height)].mean() > 127) << bit for bit in range(BITS))


def colours_of(rgb: npt.NDArray[np.uint8]) -> str:
    """The colours of the corners as letters: top left, top right, bottom left, bottom right."""
    names = {"R": RED, "G": GREEN, "B": BLUE, "Y": YELLOW}
    corners = [rgb[at, to].astype(int) for at in (4, -5) for to in (4, -5)]
    return "".join(min(names, key=lambda name: int(np.abs(corner - names[name]).sum())) for corner in corners)


def _block(bit: int, width: int, height: int) -> tuple[slice, slice]:
    side = width // 8
    return slice(height // 2 - side // 2, height // 2 + side // 2), slice((bit + 1) * side, (bit + 2) * side)


def tone(seconds: float, rate: int, loudness: float = 0.3, hertz: float = 440.0) -> npt.NDArray[np.float32]:
    """A sine: (samples,) float32."""
    count = round(seconds * rate)
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(count) / rate)).astype(np.float32)


def write(
    path: Path,
    video: str | None,
    audio: str | None,
    *,
    frames: int = 40,
    fps: int = 20,
    size: tuple[int, int] = (160, 120),
    rate: int = 48_000,
    layout: str = "stereo",
    muxer: Mapping[str, str] | None = None,
    encoder: Mapping[str, str] | None = None,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    start: float = 0.0,
    sound_start: float = 0.0,
    hole: tuple[float, float] | None = None,
) -> Path:
    """Write a film of `picture`s 0, 1, 2, ... with a tone, or one of them alone.

    Args:
        path: of the file; its suffix names the container.
        video, audio: codecs; None for no pictures or no sound.
        frames, fps, size: of the pictures; the tone has the same length.
        rate, layout: of the sound.
        muxer, encoder: options of the container and of the picture codec.
        aspect: the sample aspect ratio.
        matrix: nine numbers of the display matrix.
        start: time of the first picture on the file's clock, in seconds.
        sound_start: seconds from there to the beginning of the sound.
        hole: from when to when, in seconds from the sound's beginning, there is no sound.
    """
    with av.open(str(path), "w", options=dict(muxer or {})) as out:
        pictures = sounds = None
        if video:
            pictures = out.add_stream(video, rate=fps, options=dict(encoder or {}))
            pictures.width, pictures.height = size
            pictures.pix_fmt = "yuv420p"
            if aspect is not None:
                pictures.codec_context.sample_aspect_ratio = aspect
            if matrix is not None:
                pictures.set_display_matrix(matrix)
        if audio:
            sounds = out.add_stream(audio, rate=rate, layout=layout)
        wave, per_frame = tone(frames / fps, rate), rate // fps
        for at in range(frames):
            if pictures is not None:
                frame = av.VideoFrame.from_ndarray(picture(at, size), format="rgb24")
                frame.pts, frame.time_base = round(start * fps) + at, Fraction(1, fps)
                out.mux(pictures.encode(frame))
            if sounds is not None and not (hole and hole[0] <= at / fps < hole[1]):
                piece = np.repeat(wave[None, at * per_frame : (at + 1) * per_frame], sounds.layout.nb_channels, axis=0)
                sound = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
                sound.sample_rate, sound.time_base = rate, Fraction(1, rate)
                sound.pts = round((start + sound_start) * rate) + at * per_frame
                out.mux(sounds.encode(sound))
        for stream in (pictures, sounds):
            if stream is not None:
                out.mux(stream.encode(None))
    return path


def make(folder: Path, name: str) -> Path:
    """A file of two seconds of one of the CONTAINERS."""
    video, audio, muxer = CONTAINERS[name]
    return write(folder / name, video, audio, muxer=muxer)


def write_wav(path: Path, channels: npt.NDArray[np.float32], rate: int = 16_000, mask: int | None = None) -> Path:
    """Write a WAV of 16-bit samples by hand.

    Args:
        path: of the file.
        channels: (channels, samples) float32.
        rate: samples per second.
        mask: which loudspeaker each channel is for, as bits; None for a file that does not say.
    """
    count = len(channels)
    pcm = np.round(channels.T * 32767).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 0xFFFE if mask is not None else 1, count, rate, rate * count * 2, count * 2, 16)
    if mask is not None:
        form += struct.pack("<HHIH", 22, 16, mask, 1) + b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(pcm)) + pcm
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    return path


FOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf"}


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of every box of an mp4, the inner ones after the outer."""
    end = len(data) if end is None else end
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, start + size
        if kind in FOLDERS:
            yield from boxes(data, start + 8, start + size)
        start += size


def replace(data: bytes, kind: bytes, content: bytes, nth: int = 0) -> bytes:
    """An mp4 with other content in its nth box of a type; the boxes around it grow with it."""
    found = list(boxes(data))
    _, start, end = [box for box in found if box[0] == kind][nth]
    grown = 8 + len(content) - (end - start)
    out = bytearray(data)
    for outer, begin, until in found:
        if outer in FOLDERS and begin < start and end <= until:
            struct.pack_into(">I", out, begin, until - begin + grown)
    out[start:end] = struct.pack(">I", 8 + len(content)) + kind + content
    return bytes(out)
