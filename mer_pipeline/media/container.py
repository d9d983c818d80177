"""Open a media file safely: known containers only, this file only, within limits.

A clip is hostile until parsed. The container is decided from the file's first bytes and forced on FFmpeg, and only
the `file` protocol is allowed, so a playlist that is named `.mp4` reaches neither the network nor another file.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mer_pipeline.base.errors import BadInput, Transient
from mer_pipeline.base.numerics import hold_ffmpeg

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_STREAMS = 16
MAX_PIXELS = 8192 * 8192
MAX_SECONDS = 3600.0

# Suffixes that are looked for in a folder; what the bytes say decides how a file is opened.
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".3gp", ".3g2", ".avi", ".mkv", ".webm"})
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"})


@dataclass(frozen=True)
class MediaInfo:
    """What a container says about itself.

    Attributes:
        width, height: pixels, upright (rotation applied); None without a picture.
        frame_rate: frames per second by the header, which may be wrong.
        seconds: of the picture, or of the sound where there is none; None where the header is silent.
        has_sound: whether there is a sound stream.
        opening: hex digest of the first picture; None without a picture.
    """

    width: int | None
    height: int | None
    frame_rate: float | None
    seconds: float | None
    has_sound: bool
    opening: str | None = None


def sniff(head: bytes) -> str | None:
    """FFmpeg's name of the container that begins with these bytes (12 or more), or None if not allowed."""
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
        return "mov"
    if head[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WAVE": "wav"}.get(head[8:12])
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "mp3"
    return {b"\x1aE\xdf\xa3": "matroska", b"fLaC": "flac", b"OggS": "ogg"}.get(head[:4])


UNREAD = "unread"  # stands for the hash of a file that is there and could not be read

# What FFmpeg is told by a disk, and not by what is in the file.
PASSING = frozenset(
    {errno.EIO, errno.ENOENT, errno.EACCES, errno.EAGAIN, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE}
)


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading.

    Raises:
        BadInput: it is empty, of an unknown kind, broken or beyond the limits; also when what is read
            inside the block turns out to be broken.
        Transient: it is missing, or the disk failed.
    """
    import av

    hold_ffmpeg()
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:  # missing as well: a disk that is not mounted says so of every file
        raise Transient(f"the file cannot be read: {error.strerror}") from None
    if not head:
        raise BadInput("the file is empty (0 bytes); copy it again")
    kind = sniff(head)
    if kind is None:
        raise BadInput("the file is not a known media container (mp4, mov, avi, mkv, webm, wav, flac, mp3, ogg)")
    try:
        with av.open(
            f"file:{path.resolve()}", format=kind, options={"protocol_whitelist": "file"}, metadata_errors="replace"
        ) as container:
            if len(container.streams) > MAX_STREAMS:
                raise BadInput(f"the file has {len(container.streams)} streams, more than {MAX_STREAMS}")
            if container.duration is not None and container.duration / av.time_base > MAX_SECONDS:
                raise BadInput(f"the file is longer than {MAX_SECONDS:.0f} s; cut it into clips")
            yield container
    except av.FFmpegError as error:
        if error.errno in PASSING:
            raise Transient(f"the file cannot be read: {error.strerror}") from None
        raise BadInput(f"the file cannot be decoded: {error.strerror}; copy or convert it again") from None


def picture_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that is a film and no cover picture.

    Raises:
        BadInput: its frames are larger than the limit, or of a kind that FFmpeg does not know.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            check_codec(stream, "picture")
            if stream.width * stream.height > MAX_PIXELS:
                raise BadInput(f"frames of {stream.width}x{stream.height} are larger than {MAX_PIXELS} pixels")
            stream.thread_count = 1  # clips run in parallel, not the frames of one
            return stream
    return None


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The first sound stream."""
    return container.streams.audio[0] if container.streams.audio else None


def check_codec(stream: VideoStream | AudioStream, what: str) -> None:
    """Make sure that a stream can be decoded.

    Raises:
        BadInput: it is of a kind that FFmpeg does not know.
    """
    if stream.codec_context is None:  # PyAV gives none where FFmpeg has no decoder, whatever the types say
        raise BadInput(f"the file's {what} is of a kind that FFmpeg cannot decode; convert it, for instance to mp4")


def probe(path: Path) -> MediaInfo:
    """Read a file's header, and its first picture for the rotation.

    Raises:
        BadInput: as `open_media`, or there is neither picture nor sound.
    """
    import av

    with open_media(path) as container:
        picture, sound = picture_stream(container), sound_stream(container)
        if picture is None and sound is None:
            raise BadInput("the file has neither picture nor sound")
        main = picture or sound
        assert main is not None
        seconds = None
        if main.duration is not None and main.time_base is not None:
            seconds = float(main.duration * main.time_base)
        elif container.duration is not None:
            seconds = container.duration / av.time_base
        if picture is None:
            return MediaInfo(None, None, None, seconds, has_sound=True)
        first = next(container.decode(picture), None)
        if first is None:
            raise BadInput("the file has no frame that can be decoded; copy it again")
        sideways = first.rotation % 180 != 0
        width, height = (first.height, first.width) if sideways else (first.width, first.height)
        rate = None if picture.average_rate is None else float(picture.average_rate)
        opening = hashlib.blake2b(first.to_ndarray(format="rgb24").tobytes(), digest_size=16).hexdigest()
        return MediaInfo(width, height, rate, seconds, has_sound=sound is not None, opening=opening)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file.

    Raises:
        Transient: it is missing, or the disk failed.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Transient(f"the file cannot be read: {error.strerror}") from None


@contextmanager
def listed_content(path: Path, sha256: object) -> Iterator[None]:
    """Read a file that must be the listed one; what is found broken in it is broken in that content.

    Raises:
        Transient: as `check_content`, before the block and where the block ends with BadInput.
    """
    check_content(path, sha256)
    try:
        yield
    except BadInput:
        check_content(path, sha256)  # it may have been altered or have gone since
        raise


def check_content(path: Path, sha256: object) -> None:
    """Make sure that a file is still the one that was listed: what becomes of it is remembered under that content.

    Raises:
        Transient: it was altered or has gone since, or could not be read then.
    """
    if sha256 is None or sha256 == UNREAD:
        raise Transient("the file could not be read when it was listed; run `dvc repro --force ingest`")
    if not path.exists():
        raise Transient("the file is missing; mount the dataset or copy it again")
    if file_sha256(path) != sha256:
        raise Transient("the file was altered after it was listed; run `dvc repro` again")
