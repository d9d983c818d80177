"""From pictures and sound to an MP4 file, the same bytes every time on one machine."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.stream import VideoStream

from generator.face import Images
from generator.voice import F64, RATE

FPS = Fraction(25, 2)
SECONDS = 2.0
SIZE = (240, 320)
"""Height and width."""

X264 = {"crf": "25", "preset": "medium", "x264-params": "threads=1:no-mbtree=1:keyint=25:scenecut=0"}
"""One thread and no macroblock tree: the bytes then depend on neither the number of cores nor their timing."""

AAC_BITS = 28_000
TICKS = 12_800
"""Ticks per second of the video's clock: a whole number of them in a frame at ``FPS``."""


def write_mp4(
    path: Path, frames: Images, wave: F64 | None, times: Sequence[float] | None = None, turn: int = 0
) -> None:
    """Encode frames (T, H, W, 3) and a mono wave (N,) at ``RATE``; H.264 and AAC, header first.

    ``times`` are the frames' times in seconds (T,), default evenly at ``FPS``; ``wave`` None is a file without a
    sound track. ``turn`` is what a player has to turn the picture by, in degrees counter-clockwise.
    """
    when = [float(i / FPS) for i in range(len(frames))] if times is None else times
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "+faststart", "fflags": "+bitexact", "video_track_timescale": str(TICKS)}
    with av.open(str(path), "w", format="mp4", options=options) as out:
        video = out.add_stream("libx264", rate=FPS, options={**X264, "flags": "+bitexact"})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, TICKS)
        if turn:
            video.set_display_rotation(turn)
        packets: list[Packet[VideoStream] | Packet[AudioStream]] = [*_video_packets(video, frames, when)]
        if wave is not None:
            audio = out.add_stream("aac", rate=RATE, layout="mono", options={"flags": "+bitexact"})
            audio.bit_rate = AAC_BITS
            packets += _audio_packets(audio, wave)
        # In the order of time, so that the muxer interleaves them as a real recorder does.
        out.mux(sorted(packets, key=lambda p: float((p.dts or 0) * (p.time_base or 0))))


def _video_packets(stream: VideoStream, frames: Images, times: Sequence[float]) -> list[Packet[VideoStream]]:
    packets: list[Packet[VideoStream]] = []
    for image, time in zip(frames, times, strict=True):
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = round(time * TICKS), Fraction(1, TICKS)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _audio_packets(stream: AudioStream, wave: F64) -> list[Packet[AudioStream]]:
    packets: list[Packet[AudioStream]] = []
    samples = wave.astype(np.float32)[None]
    for start in range(0, samples.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(samples[:, start : start + 1024].copy(), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        packets += stream.encode(frame)
    return packets + stream.encode(None)
