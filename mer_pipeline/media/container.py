"""Open a media file safely: only known container formats, only this one file, and only within fixed limits.

A media file may be broken or malicious. Its container format is decided from its first bytes and not from its name,
and FFmpeg is made to use that format, with the `file` protocol only. Therefore a playlist that is named `.mp4` can
reach neither the network nor another file.
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

# Suffixes that are looked for in a folder. The first bytes of a file, and not its suffix, decide how it is opened.
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm"})
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"})


@dataclass(frozen=True)
class MediaInfo:
    """What the header of a media file says.

    Attributes:
        width, height: size of the upright picture (rotation applied) in pixels; None if there is no picture.
        frame_rate: frames per second according to the header, which may be wrong; None if there is no picture or the
            header does not say.
        seconds: length of the picture, or of the sound if there is no picture; None if the header does not say.
        has_sound: whether there is a sound stream.
    """

    width: int | None
    height: int | None
    frame_rate: float | None
    seconds: float | None
    has_sound: bool


def sniff(head: bytes) -> str | None:
    """Return FFmpeg's name of the container format that a file's first bytes show, or None if it is not allowed.

    Args:
        head: the first bytes of the file, at least 12.

    Example:
        >>> sniff(b"RIFF....WAVEfmt ")
        'wav'
        >>> sniff(b"#EXTM3U.........") is None  # a playlist
        True
    """
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
        return "mov"
    if head[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WAVE": "wav"}.get(head[8:12])
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "mp3"
    return {b"\x1aE\xdf\xa3": "matroska", b"fLaC": "flac", b"OggS": "ogg"}.get(head[:4])


UNREAD = "unread"  # stands for the hash of a file that exists but could not be read

# Errors that come from the disk or the system and not from the content of the file; they may be gone next time.
PASSING = frozenset(
    {errno.EIO, errno.ENOENT, errno.EACCES, errno.EAGAIN, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE}
)


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading, as a context manager.

    Raises:
        BadInput: if the file is empty, of an unknown format, broken or beyond the limits. The same error is raised
            if the file turns out to be broken while it is read inside the `with` block.
        Transient: if the file is missing or the disk failed.
    """
    import av

    hold_ffmpeg()
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:  # a missing file too: if a disk is not mounted, all of its files are missing
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
    """Return the first video stream that is not a cover picture, or None.

    Raises:
        BadInput: if its frames are larger than the limit, or FFmpeg has no decoder for them.
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
    """Return the first sound stream, or None."""
    return container.streams.audio[0] if container.streams.audio else None


def check_codec(stream: VideoStream | AudioStream, what: str) -> None:
    """Check that a stream can be decoded.

    Args:
        stream: the stream.
        what: a word for it in the error message, such as "sound".

    Raises:
        BadInput: if FFmpeg has no decoder for it.
    """
    if stream.codec_context is None:  # PyAV's types say never, but it is None if FFmpeg has no decoder
        raise BadInput(f"the file's {what} is of a kind that FFmpeg cannot decode; convert it, for instance to mp4")


def probe(path: Path) -> MediaInfo:
    """Read the header of a media file, and decode its first frame to learn the rotation.

    Raises:
        BadInput: as for `open_media`; or if the file has neither picture nor sound, or no frame can be decoded.
        Transient: as for `open_media`.
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
        rate = picture.average_rate
        return MediaInfo(width, height, None if rate is None else float(rate), seconds, has_sound=sound is not None)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits.

    Raises:
        Transient: if the file is missing or the disk failed.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Transient(f"the file cannot be read: {error.strerror}") from None


@contextmanager
def listed_content(path: Path, sha256: object) -> Iterator[None]:
    """Guard a block that reads a file of the manifest, as a context manager.

    The file's hash is checked before the block, and again if the block raises BadInput. Thus a file is only called
    broken if it still has the content that the manifest lists.

    Args:
        path: the file.
        sha256: its hash in the manifest.

    Raises:
        Transient: as for `check_content`.
    """
    check_content(path, sha256)
    try:
        yield
    except BadInput:
        check_content(path, sha256)  # the file may have been altered or removed meanwhile
        raise


def check_content(path: Path, sha256: object) -> None:
    """Check that a file still has the content that the manifest lists, because the store keeps its rows under that.

    Args:
        path: the file.
        sha256: its hash in the manifest; None or UNREAD if the file could not be read when it was listed.

    Raises:
        Transient: if the file was altered or removed since it was listed, or could not be read when it was listed.
    """
    if sha256 is None or sha256 == UNREAD:
        raise Transient("the file could not be read when it was listed; run `dvc repro --force ingest`")
    if not path.exists():
        raise Transient("the file is missing; mount the dataset or copy it again")
    if file_sha256(path) != sha256:
        raise Transient("the file was altered after it was listed; run `dvc repro` again")
