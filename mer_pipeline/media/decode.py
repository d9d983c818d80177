"""Decode the pictures of a clip, with true presentation times, as a player shows them.

The file is read twice. The first pass reads the packets' times without decoding, and the caller chooses frames from
them. The second pass decodes all frames, and turns only the chosen ones into arrays. Each packet carries its time
through the decoder, so that it is known which packet a frame is from, and which packets gave none. Decoding runs on the
CPU with one thread per clip, so that the result is the same bit for bit; several clips run in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.media.container import clip_start, open_media, picture_stream
from mer_pipeline.media.upright import upright
from mer_pipeline.media.whole import check_whole, cut_off, damaged

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# The share of the packets that a file's header lists which must be in the file, and the share of its frames which must
# decode. With fewer, the file was cut off or damaged.
COMPLETE = 0.97

# A clip that was cut out of a longer one may begin with frames that need earlier ones. So many seconds are no damage.
LEAD_SECONDS = 0.5

# The most pixels of all frames together, to begin with and for each byte of the file. A black film has fewer.
PIXELS = 1_000_000_000
PIXELS_PER_BYTE = 100_000

TINY = 8  # bytes of an MPEG-4 packet that only says that the last picture stays


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
        BadInput: as for `open_media` and `check_whole`; or if the file ends earlier than its header says, frames of it
            do not decode or have no time, it has more frames than its size allows, or no frame was chosen. It may be
            raised after the last picture.
        Transient: as for `open_media`.
        Skip: if the file has no picture.
    """
    with open_media(path) as container:
        stream = picture_stream(container)
        if stream is None:
            raise Skip("no picture in the file")
        check_whole(path, container.format.name)
        check_there(container, stream, "frames")
        most = PIXELS + PIXELS_PER_BYTE * path.stat().st_size
        order = _order(container, stream, most)
        if not len(order.stamps) or stream.time_base is None:
            raise BadInput("the file has no frames with a time; convert it to mp4")
        seconds = order.stamps.astype(np.float64) * float(stream.time_base) - clip_start(container)
        times, end = _true_times(seconds, fps, duration)
        wanted = choose(times, end).tolist()
        if not wanted:
            raise BadInput("no frame was chosen")
        container.seek(0, backward=True, any_frame=False)
        decoded = np.zeros(len(times), bool)
        for at, frame in _decode(container, stream, order):
            decoded[at] = True
            most -= frame.width * frame.height
            if most < 0:  # the size may have grown midway
                raise _too_many(frame.width, frame.height)
            # If the decoder had to drop a chosen frame, the next frame replaces it and keeps its own time.
            if wanted and at >= wanted[0]:
                yield Picture(float(times[at]), upright(frame, stream.sample_aspect_ratio))
                wanted = [later for later in wanted if later > at]
        _check_decoded(decoded, order, times)
        if wanted:
            raise cut_off(f"{len(wanted)} of its frames do not decode")


@dataclass(frozen=True)
class _Order:
    """In which order frames are shown, and when.

    Attributes:
        stamps: (frames,) int64, presentation times in units of the stream, ascending.
        hidden: how many of them belong to packets that only take up time, and give no frame.
        by_dts: whether the time of a packet is the one at which it is decoded, as in a container that has no other.
        counted: whether the frames come from the decoder in another order than that of their packets' times. Then the
            times are those of the packets, and the nth frame has the nth of them.
    """

    stamps: npt.NDArray[np.int64]
    hidden: int
    by_dts: bool
    counted: bool

    def stamp(self, packet: Packet[VideoStream]) -> int | None:
        """Return the time of a packet."""
        return packet.dts if self.by_dts or packet.pts is None else packet.pts


def _order(container: InputContainer, stream: VideoStream, most: int) -> _Order:
    """Read the times of all packets without decoding them. The frames may have `most` pixels together.

    AVI knows no presentation times, and the ones that FFmpeg makes up are wrong if frames are stored out of order.
    Some writers store the times of decoding in other containers too. Both are seen by times that ascend in the file
    although the decoder has to reorder frames.

    Raises:
        BadInput: if a packet has no time, packets are missing, or there are too many for the file's size.
    """
    by_dts = container.format.name == "avi"
    order = _Order(np.zeros(0, np.int64), 0, by_dts, False)
    found: list[int] = []
    there = hidden = 0
    for packet in container.demux(stream):
        there += bool(packet.size)
        if not packet.size or packet.is_discard:  # discarded by an edit list: needed to decode others, never shown
            continue
        stamp = order.stamp(packet)
        if stamp is None:
            raise BadInput("the file has frames without a time; convert it to mp4")
        found.append(stamp)
        hidden += _is_hidden(packet, stream.codec_context.name)
        if there * stream.width * stream.height > most:
            raise _too_many(stream.width, stream.height)
    if container.format.name.startswith("mov") and there < COMPLETE * len(stream.index_entries) - 1:
        raise damaged(f"{there} of {len(stream.index_entries)} frames can be read")
    stamps = np.array(found, dtype=np.int64)
    counted = bool(stream.codec_context.has_b_frames and np.all(np.diff(stamps) > 0))
    return _Order(np.sort(stamps), hidden, by_dts, counted)


def _too_many(width: int, height: int) -> BadInput:
    return BadInput(f"the file has more frames of {width}x{height} pixels than its size allows; convert it")


def _is_hidden(packet: Packet[VideoStream], codec: str) -> bool:
    """Tell whether a packet gives no frame though nothing is wrong with it."""
    if codec == "vp8":
        return not bytes(memoryview(packet)[:1])[0] & 0x10  # the bit "show this frame"
    return codec == "mpeg4" and packet.size <= TINY


def _decode(container: InputContainer, stream: VideoStream, order: _Order) -> Iterator[tuple[int, VideoFrame]]:
    """Decode all frames, each with its place among the times of all."""
    stream.codec_context.copy_opaque = True
    count, first = 0, None
    for packet in container.demux(stream):
        packet.opaque = (order.stamp(packet),)
        for frame in packet.decode():
            mark = frame.opaque if isinstance(frame.opaque, tuple) else (None,)
            stamp = next((stamp for stamp in (*mark, frame.pts, frame.dts) if stamp is not None), None)
            at = count if stamp is None else int(np.searchsorted(order.stamps, stamp))
            first = at if first is None else first
            at = first + count if order.counted else at
            count += 1
            yield min(at, len(order.stamps) - 1), frame


def _check_decoded(decoded: npt.NDArray[np.bool_], order: _Order, times: npt.NDArray[np.float64]) -> None:
    """Check that few frames were lost.

    Args:
        decoded: (frames,) bool, whether there is a frame of each time.
        order: the order of the frames.
        times: (frames,) float64, their times in seconds.

    Raises:
        BadInput: if more frames are missing than COMPLETE and LEAD_SECONDS allow.
    """
    first = int(np.argmax(decoded))
    lead = first if decoded.any() and times[first] - times[0] <= LEAD_SECONDS else 0
    there, promised = int(decoded.sum()) + order.hidden + lead, len(np.unique(order.stamps))
    if there < COMPLETE * promised - 1:
        raise damaged(f"{promised - there} of its {promised} frames do not decode")


def check_there(container: InputContainer, stream: VideoStream | AudioStream, what: str) -> None:
    """Compare the places in the table of a file's header with the size of the file.

    Only mp4 and mov files have such a table. It is FFmpeg's own index of the file: it counts no packet that an edit
    list cuts away.

    Args:
        container: the open file.
        stream: one of its streams.
        what: a word for the packets in the error message.

    Raises:
        BadInput: if a packet lies beyond the end of the file.
    """
    if container.format.name.startswith("mov"):
        inside = [entry.pos + entry.size <= container.size for entry in stream.index_entries]
        if not all(inside):
            raise cut_off(f"{sum(inside)} of {len(inside)} {what} are there")


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
