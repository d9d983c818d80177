"""Decode the pictures and the sound of a clip, with true presentation times and the rotation applied.

Pictures are read in two passes over one open file. The first pass reads the packets' times without decoding, and the
caller chooses frames from them. The second pass decodes, and turns only the chosen frames into arrays. Decoding runs
on the CPU with one thread per clip, so that the result is the same bit for bit; several clips run in parallel.
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

# The share of the packets that a file's header lists which must be in the file. With fewer, the file was cut off.
COMPLETE = 0.97


@dataclass(frozen=True)
class Picture:
    """One decoded frame of a clip.

    Attributes:
        time: presentation time in seconds from the clip's start.
        rgb: (height, width, 3) uint8, upright.
    """

    time: float
    rgb: npt.NDArray[np.uint8]


# A function that chooses frames. It is given the presentation times of all frames, (frames,) in seconds, and the time
# at which the last frame ends. It returns the indices of the chosen frames, ascending.
Choose = Callable[[npt.NDArray[np.float64], float], npt.NDArray[np.int64]]


def read_pictures(
    path: Path, choose: Choose, *, fps: float | None = None, duration: float | None = None
) -> Iterator[Picture]:
    """Decode the chosen frames of a clip.

    Args:
        path: the media file.
        choose: chooses frames by their presentation times.
        fps: the true frame rate, if the times in the file are known to be wrong.
        duration: the true length in seconds, if the times in the file are known to be wrong; ignored if `fps` is given.

    Yields:
        The chosen frames, in the order of their times.

    Raises:
        BadInput: as for `open_media`; or if the file ends earlier than its header says, has frames without a time, or
            no frame was chosen.
        Transient: as for `open_media`.
        Skip: if the file has no picture.
    """
    with open_media(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise Skip("no picture in the file")
        packets = [p for p in container.demux(stream) if p.size]
        _check_complete(path, len(packets), stream, "frames")
        # Packets that an edit list discards are needed to decode other packets, but they are never shown.
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
            # If the decoder had to drop a chosen frame, the next frame replaces it and keeps its own time.
            if wanted and stamps[at] >= wanted[0]:
                rgb = frame.to_ndarray(format="rgb24")
                yield Picture(float(times[at]), np.rot90(rgb, k=frame.rotation // 90 % 4))
                wanted = [stamp for stamp in wanted if stamp > stamps[at]]
            if not wanted:
                return
        raise BadInput(f"the file is cut off: {len(wanted)} of its frames do not decode; copy it again")


def _check_complete(path: Path, there: int, stream: VideoStream | AudioStream, what: str) -> None:
    """Compare the number of packets in the file with the table in its header.

    Only mp4 and mov files have such a table, and raw samples (PCM) are not checked. The table is FFmpeg's own index of
    the file: it counts no packet that an edit list cuts away, so that such a packet is not taken for a missing one.

    Args:
        path: the media file.
        there: the number of packets that were read.
        stream: the stream that they belong to.
        what: a word for the packets in the error message.

    Raises:
        BadInput: if the file ends early.
    """
    promised = 0 if stream.codec_context.name.startswith("pcm") else len(stream.index_entries)
    if stream.container.format.name.startswith("mov") and there < COMPLETE * promised - 1:
        raise BadInput(f"the file is cut off: {there} of {promised} {what} are there; copy it again")


def read_sound(path: Path, max_seconds: float) -> npt.NDArray[np.float32]:
    """Decode a clip's sound to mono at 16 kHz. The loudness is not changed.

    Returns:
        (samples,) float32, mostly in [-1, 1]; a file of floats or the resampling may go beyond.

    Raises:
        BadInput: as for `open_media`; or if the file is cut off, has more than `max_seconds` of sound, or has a sound
            track without any sample.
        Transient: as for `open_media`.
        Skip: if the file has no sound track.
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
    """Resample frames to 16 kHz and average their channels: (samples,) float32 for each frame.

    The channels are averaged here because the resampler's own mix to mono would make stereo 3 dB louder and clip it.
    A file may change its channels or its sample rate midway, but one resampler takes only frames of one kind.
    Therefore each run of equal frames has a resampler of its own.
    """
    import av

    for _, alike in groupby(frames, lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate)):
        resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
        for frame in chain(alike, (None,)):  # with None the resampler gives the samples that it still holds
            for resampled in resampler.resample(frame):
                yield resampled.to_ndarray().mean(axis=0)


def _true_times(
    times: npt.NDArray[np.float64], fps: float | None, duration: float | None
) -> tuple[npt.NDArray[np.float64], float]:
    """Return the presentation times of all frames in seconds, and the time at which the last frame ends.

    `fps` and `duration` are the dataset's own values; if one is given, equal steps replace the times in the file.
    """
    count = len(times)
    if fps is not None:
        return np.arange(count, dtype=np.float64) / fps, count / fps
    if duration is not None:
        return np.arange(count, dtype=np.float64) * (duration / count), duration
    step = float(np.median(np.diff(times))) if count > 1 else 0.0
    return times, float(times[-1]) + step
