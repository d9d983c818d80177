"""Decode pictures and sound: once per clip, with true presentation times and rotation applied.

Pictures take two passes over one open file: the packets' times first (no decoding), from which the caller
chooses frames, then decoding, where only the chosen frames become arrays. Decoding is on the CPU with one
thread: bit-exact, while clips run in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.media.container import check_codec, open_media, picture_stream, sound_stream

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.video.stream import VideoStream

SAMPLE_RATE = 16_000

# Of a file's promised packets, this share must be there; below it the file was cut.
COMPLETE = 0.97


@dataclass(frozen=True)
class Picture:
    """One frame: `rgb` is (height, width, 3) uint8, upright; `time` is seconds from the clip's start."""

    time: float
    rgb: npt.NDArray[np.uint8]


# From all frames' times and the time at which the last one ends, the indices of those wanted, ascending.
Choose = Callable[[npt.NDArray[np.float64], float], npt.NDArray[np.int64]]


def read_pictures(
    path: Path, choose: Choose, *, fps: float | None = None, duration: float | None = None
) -> Iterator[Picture]:
    """Decode the chosen frames of a clip.

    Args:
        path: the media file.
        choose: picks frames by their presentation times.
        fps: the true frame rate where the file's own is known to be wrong.
        duration: likewise the true length in seconds.

    Raises:
        BadInput: as `open_media`; or the file ends before what its header promises.
        Skip: it has no picture.
    """
    with open_media(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise Skip("no picture in the file")
        packets = [p for p in container.demux(stream) if p.size]
        _check_complete(path, len(packets), stream, "frames")
        # Packets that an edit list discards are decoded for the others' sake and never shown.
        found = [p.pts if p.pts is not None else p.dts for p in packets if not p.is_discard]
        if not found or stream.time_base is None or any(stamp is None for stamp in found):
            raise BadInput("the file has no frames with a time; convert it to mp4")
        stamps = np.sort(np.array(found, dtype=np.int64))
        start = (container.start_time or 0) / 1_000_000
        times, end = _true_times(stamps.astype(np.float64) * float(stream.time_base) - start, fps, duration)
        wanted = [int(stamps[at]) for at in choose(times, end)]
        if not wanted:
            raise BadInput("no frame was chosen")
        container.seek(0, backward=True, any_frame=False)
        for order, frame in enumerate(container.decode(stream)):
            shown = frame.pts if frame.pts is not None else frame.dts
            at = order if shown is None else int(np.searchsorted(stamps, shown))
            at = min(at, len(stamps) - 1)
            # A frame that the decoder had to drop is stood in for by the next one, with that one's own time.
            if wanted and stamps[at] >= wanted[0]:
                rgb = frame.to_ndarray(format="rgb24")
                yield Picture(float(times[at]), np.rot90(rgb, k=frame.rotation // 90 % 4))
                wanted = [stamp for stamp in wanted if stamp > stamps[at]]
            if not wanted:
                return
        raise BadInput(f"the file is cut off: {len(wanted)} of its frames do not decode; copy it again")


def _check_complete(path: Path, there: int, stream: VideoStream | AudioStream, what: str) -> None:
    """Compare with the header's table of packets, where there is one: in mp4 and mov, and not for raw samples.

    The table is the one that FFmpeg keeps: packets that an edit list cuts away are in the file, and not to be missed.

    Raises:
        BadInput: the file ends early.
    """
    promised = 0 if stream.codec_context.name.startswith("pcm") else len(stream.index_entries)
    if stream.container.format.name.startswith("mov") and there < COMPLETE * promised - 1:
        raise BadInput(f"the file is cut off: {there} of {promised} {what} are there; copy it again")


def read_sound(path: Path, max_seconds: float) -> npt.NDArray[np.float32]:
    """Decode a clip's sound to mono at 16 kHz, its loudness untouched: (samples,) float32 in [-1, 1] or beyond.

    Raises:
        BadInput: as `open_media`; or the file is cut off; or longer than `max_seconds`.
        Skip: it has no sound track.
    """
    with open_media(path) as container:
        stream = sound_stream(container)
        if stream is None:
            raise Skip("no sound track")
        check_codec(stream, "sound")
        pieces: list[npt.NDArray[np.float32]] = []
        samples = packets = 0

        def frames() -> Iterator[AudioFrame]:
            nonlocal packets
            for packet in container.demux(stream):
                packets += bool(packet.size)
                yield from packet.decode()

        for piece in _mono(frames()):
            pieces.append(piece)
            samples += piece.size
            if samples > max_seconds * SAMPLE_RATE:
                raise BadInput(f"more than {max_seconds:g} s of sound (audio.max_seconds)")
        _check_complete(path, packets, stream, "packets of sound")
        sound = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        if not sound.size:
            raise BadInput("the file has a sound track without sound in it; convert it again")
        return sound


def _mono(frames: Iterable[AudioFrame]) -> Iterator[npt.NDArray[np.float32]]:
    """Frames at 16 kHz, their channels averaged: (samples,) float32 each.

    The resampler's own mix to mono would make stereo 3 dB louder and clip it. A file may change its channels or its
    rate midway, and a resampler takes one kind of frames.
    """
    import av

    for _, alike in groupby(frames, lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate)):
        resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
        for frame in chain(alike, (None,)):  # with None it gives what it still holds
            for resampled in resampler.resample(frame):
                yield resampled.to_ndarray().mean(axis=0)


def _true_times(
    times: npt.NDArray[np.float64], fps: float | None, duration: float | None
) -> tuple[npt.NDArray[np.float64], float]:
    """Frame times, overridden where the dataset knows better, and the time at which the last frame ends."""
    count = len(times)
    if fps is not None:
        return np.arange(count, dtype=np.float64) / fps, count / fps
    if duration is not None:
        return np.arange(count, dtype=np.float64) * (duration / count), duration
    step = float(np.median(np.diff(times))) if count > 1 else 0.0
    return times, float(times[-1]) + step
