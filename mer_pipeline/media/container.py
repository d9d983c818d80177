"""Open a media file safely: only known container formats, only this one file, and only within fixed limits.

A media file may be broken or malicious. Its container format is decided from its first bytes and not from its name,
and FFmpeg is made to use that format, with the `file` protocol only. Therefore a playlist that is named `.mp4` can
reach neither the network nor another file.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mer_pipeline.base.errors import BadInput, Transient
from mer_pipeline.base.numerics import hold_ffmpeg
from mer_pipeline.media.bounds import MAX_STREAMS, check_bounds
from mer_pipeline.media.upright import MAX_PIXELS
from mer_pipeline.media.whole import check_whole

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_SECONDS = 3600.0
MAX_CHANNELS = 64

# Sound codecs begin with up to so many seconds that only warm the decoder up.
LEAD_IN_SECONDS = 0.1

# Suffixes that are looked for in a folder. The first bytes of a file, and not its suffix, decide how it is opened.
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".3gp", ".3g2", ".avi", ".mkv", ".webm"})
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"})


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
PASSING = frozenset({errno.ENOENT, errno.EACCES, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE})

# FFmpeg gives these for broken files too: for a place that the file does not have, and for an absurd size.
DOUBTFUL = frozenset({errno.EIO, errno.ENOMEM})
ENOUGH_MEMORY = 256 << 20  # bytes; no sound file or picture within the limits needs more at once


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a media file for reading, as a context manager.

    Raises:
        BadInput: if the file is empty, of an unknown format, broken or beyond the limits. The same error is raised
            if the file turns out to be broken while it is read inside the `with` block.
        Transient: if the file is missing, or the disk or the memory failed.
    """
    import av

    hold_ffmpeg()
    kind = kind_of(path)
    try:
        with av.open(
            f"file:{path.resolve()}", format=kind, options={"protocol_whitelist": "file"}, metadata_errors="replace"
        ) as container:
            if len(container.streams) > MAX_STREAMS:
                raise BadInput(f"the file has {len(container.streams)} streams, more than {MAX_STREAMS}")
            seconds = length_of(container)
            if seconds is not None and seconds > MAX_SECONDS:
                raise BadInput(f"the file is longer than {MAX_SECONDS:.0f} s; cut it into clips")
            yield container
    except av.FFmpegError as error:
        if error.errno in PASSING or (error.errno in DOUBTFUL and not _can_be_read(path)):
            raise Transient(f"the file cannot be read: {error.strerror}") from None
        check_whole(path, kind)
        raise BadInput(f"the file cannot be decoded: {error.strerror}; copy or convert it again") from None


def kind_of(path: Path) -> str:
    """Find out the container format of a file, and check what its tables promise.

    Returns:
        FFmpeg's name of the format, as `sniff` returns it.

    Raises:
        BadInput: if the file is empty, of an unknown format, or its tables are beyond the bounds.
        Transient: if the file is missing or the disk failed.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
            kind = sniff(head)
            if kind == "mov":
                check_bounds(file)
    except OSError as error:  # a missing file too: if a disk is not mounted, all of its files are missing
        raise Transient(f"the file cannot be read: {error.strerror}") from None
    if not head:
        raise BadInput("the file is empty (0 bytes); copy it again")
    if kind is None:
        raise BadInput("the file is not a known media container (mp4, mov, avi, mkv, webm, wav, flac, mp3, ogg)")
    return kind


def _can_be_read(path: Path) -> bool:
    """Tell whether the disk gives all of a file and the system gives memory: then the file itself is at fault."""
    try:
        file_sha256(path)
        mmap.mmap(-1, ENOUGH_MEMORY).close()
    except (Transient, OSError):
        return False
    return True


def length_of(container: InputContainer) -> float | None:
    """Return the length of a file in seconds by its header; None if the header does not say.

    Matroska states the time at which the clip ends on its clock. This clock may start at any time.
    """
    import av

    if container.duration is None:
        return None
    seconds = container.duration / av.time_base
    start = clip_start(container) if container.format.name.startswith("matroska") else 0.0
    return seconds - start if 0 < start < seconds else seconds


def clip_start(container: InputContainer) -> float:
    """Return the time on the file's clock at which the clip starts, in seconds.

    It is the time of what is shown or heard first. A little sound before the first picture, or before 0, is the lead-in
    of its codec, and is not part of the clip.
    """
    import av
    from av.stream import Disposition

    start = (container.start_time or 0) / av.time_base
    pictures = [
        float(stream.start_time * stream.time_base)
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.start_time is not None and stream.time_base
    ][:1]
    if pictures and (pictures[0] < 0 or pictures[0] - start <= LEAD_IN_SECONDS):
        return pictures[0]
    return max(start, 0.0)


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
            # The size may change later in the file; then FFmpeg itself refuses what is larger.
            stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(MAX_PIXELS)}
            return stream
    return None


def sound_stream(container: InputContainer) -> AudioStream | None:
    """Return the first sound stream, or None.

    Raises:
        BadInput: if FFmpeg has no decoder for it, or it has more channels than the limit.
    """
    for stream in container.streams.audio:
        check_codec(stream, "sound")
        if stream.layout.nb_channels > MAX_CHANNELS:
            raise BadInput(f"the sound has {stream.layout.nb_channels} channels, more than {MAX_CHANNELS}")
        return stream
    return None


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
