"""Decode the sound of a clip to mono at 16 kHz, at the time at which it is heard, as loud as its channels are meant.

A file of one channel keeps its samples. The channels of all others are added up, each with the gain of `GAINS`: the
centre counts fully, left and right 3 dB less, and surround 6 dB less (ITU-R BS.775). The voice of one person is
therefore equally loud in mono, in the centre of 5.1, and in the middle of stereo as sound engineers place it there.
If left and right have opposite signs, as after a wiring fault, they would cancel out. Then the right ones are turned.
If the sum goes beyond full scale, the whole clip is lowered until it fits, because clipped peaks distort a voice.

Sound that starts late begins with silence, and a hole in its times is filled with silence, so that a sample's place
says when it is heard on the clock of the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.errors import BadInput, Skip
from mer_pipeline.media.container import LEAD_IN_SECONDS, clip_start, open_media, sound_stream
from mer_pipeline.media.decode import COMPLETE, check_there
from mer_pipeline.media.whole import check_whole, damaged

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer

SAMPLE_RATE = 16_000
RATES = range(1_000, 768_001)  # Hz

# A hole in the sound, or a late start, of so many seconds is filled. Less is the rounding of the times in the file.
HOLE_SECONDS = 0.05

# How much louder, in energy, the sum with the right side turned has to be for left and right to count as opposite.
OPPOSITE = 10.0

# Containers that state the length of their sound exactly. The others do not, or lose nothing (check_whole).
EXACT = frozenset({"flac", "ogg"})

# The gain of a channel by FFmpeg's name of its place.
GAINS = {
    "FC": 1.0,
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "DL", "DR", "WL", "WR"), 0.5**0.5),
    **dict.fromkeys(("BL", "BR", "BC", "SL", "SR", "TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"), 0.5),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
RIGHT = frozenset({"FR", "FRC", "DR", "WR", "BR", "SR", "TFR", "TBR"})
SURROUND = ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR")
USUAL = {2: SURROUND[:2], 6: SURROUND[:6], 8: SURROUND}

Samples = npt.NDArray[np.float32]


def gains_of(names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the gain of each channel in the sum, and in the sum with the right side turned.

    Args:
        names: FFmpeg's names of the channels' places. If the file does not name the places, two, six and eight channels
            have the usual ones; of any other number, all channels have the gain that keeps the energy of noise.

    Returns:
        (2, channels) float32.

    Example:
        >>> gains_of(["FL", "FR", "FC", "LFE", "SL", "SR"]).astype(float).round(3).tolist()
        [[0.707, 0.707, 1.0, 0.0, 0.5, 0.5], [0.707, -0.707, 1.0, 0.0, 0.5, -0.5]]
    """
    if any(name not in GAINS for name in names):
        if len(names) not in USUAL:
            return np.full((2, len(names)), len(names) ** -0.5, np.float32)
        names = USUAL[len(names)]
    gains = np.array([GAINS[name] for name in names], np.float32)
    return np.stack([gains, np.where([name in RIGHT for name in names], -gains, gains)])


def read_sound(path: Path, max_seconds: float) -> Samples:
    """Decode a clip's sound to mono at 16 kHz.

    Returns:
        (samples,) float32, mostly in [-1, 1]; a file of floats or the resampling may go beyond. The first sample is at
        the clip's start.

    Raises:
        BadInput: as for `open_media` and `check_whole`; or if parts of the file do not decode, it has more than
            `max_seconds` of sound, or it has a sound track without any sample.
        Transient: as for `open_media`.
        Skip: if the file has no sound track.
    """
    with open_media(path) as container:
        stream = sound_stream(container)
        if stream is None:
            raise Skip("no sound track")
        check_whole(path, container.format.name)
        check_there(container, stream, "packets of sound")
        track = _Track(max_seconds)
        start, heard = clip_start(container), 0.0
        for frame in container.decode(stream):
            heard += frame.samples / max(frame.sample_rate, 1)
            track.add(frame, None if frame.time is None else frame.time - start)
        _check_heard(heard, container, stream)
        return track.mono()


def _check_heard(seconds: float, container: InputContainer, stream: AudioStream) -> None:
    """Compare the length of the decoded sound with the one that the header states, where that is exact.

    Raises:
        BadInput: if more is missing than COMPLETE allows.
    """
    name = container.format.name
    if name not in EXACT or stream.duration is None or stream.time_base is None:
        return
    promised = float(stream.duration * stream.time_base)
    if seconds < COMPLETE * promised - 2 * HOLE_SECONDS:
        raise damaged(f"{seconds:.1f} of its {promised:.1f} s of sound decode")


class _Track:
    """The sound of a clip that grows frame by frame.

    A file may change its channels or its sample rate midway, but one resampler takes only frames of one kind.
    Therefore each run of equal frames without a hole has a resampler of its own.
    """

    def __init__(self, max_seconds: float) -> None:
        self.max_seconds = max_seconds
        self.pieces: list[npt.NDArray[np.float32]] = []  # (2, samples) each: the sum, and the one with a turned right
        self.samples = 0
        self.mixed = False
        self.kind: tuple[str, str, int] | None = None
        self.resampler: AudioResampler | None = None
        self.gains = np.ones((2, 1), np.float32)
        self.begin = 0  # where the run begins, in samples of the track; negative if its beginning is not part of it
        self.seconds = 0.0  # length of the run so far
        self.skip = 0  # how many of its samples are still to be left out

    def add(self, frame: AudioFrame, time: float | None) -> None:
        """Append a frame that is heard at a time, in seconds from the clip's start; None if that is not known."""
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        now = self.begin / SAMPLE_RATE + self.seconds
        hole = 0.0 if time is None else time - now
        if kind == self.kind and hole <= HOLE_SECONDS:
            pass
        elif frame.sample_rate not in RATES:
            raise BadInput(f"the sound has {frame.sample_rate} samples per second; convert it")
        else:
            self._finish()
            if time is not None and hole > HOLE_SECONDS:
                self._check_length(time)
                self._append(np.zeros((2, max(0, round(time * SAMPLE_RATE) - self.samples)), np.float32))
            early = time is not None and not self.samples and -LEAD_IN_SECONDS <= time < 0
            self.begin = round(time * SAMPLE_RATE) if time is not None and early else self.samples
            self.kind, self.seconds, self.skip = kind, 0.0, self.samples - self.begin
            self.gains = gains_of([channel.name for channel in frame.layout.channels])
            # Packed, because PyAV reads beyond the list of planes where there are eight.
            self.resampler = av.AudioResampler(format="flt", rate=SAMPLE_RATE)
        self.seconds += frame.samples / frame.sample_rate
        self._check_length(self.begin / SAMPLE_RATE + self.seconds)
        self._resample(frame)

    def mono(self) -> Samples:
        """Return the whole sound, (samples,) float32.

        Raises:
            BadInput: if there is none.
        """
        self._finish()
        if not self.samples:
            raise BadInput("the file has a sound track without sound in it; convert it again")
        both = np.concatenate(self.pieces, axis=1)
        plain, turned = (float(np.sum(np.square(sums, dtype=np.float64))) for sums in both)
        sound: Samples = both[1 if turned > OPPOSITE * plain else 0]
        peak = np.float32(np.max(np.abs(sound)))
        return np.divide(sound, peak) if self.mixed and peak > 1 else sound

    def _finish(self) -> None:
        """Take the samples that the resampler still holds."""
        if self.resampler is not None:
            self._resample(None)
            self.resampler = None

    def _resample(self, frame: AudioFrame | None) -> None:
        assert self.resampler is not None
        for resampled in self.resampler.resample(frame):
            packed = np.asarray(resampled.to_ndarray(), np.float32)
            self._append(self._mix(packed.reshape(-1, self.gains.shape[1]).T))

    def _mix(self, planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Add up the channels: from (channels, samples) to (2, samples)."""
        if len(planes) == 1:
            return np.repeat(planes, 2, axis=0)
        self.mixed = True
        sums = np.zeros((2, planes.shape[1]), np.float32)
        for gains, plane in zip(self.gains.T, planes, strict=True):  # in this order, so that each bit is the same
            sums += gains[:, None] * plane
        return sums

    def _append(self, piece: npt.NDArray[np.float32]) -> None:
        piece, self.skip = piece[:, self.skip :], max(0, self.skip - piece.shape[1])
        self.pieces.append(piece)
        self.samples += piece.shape[1]

    def _check_length(self, seconds: float) -> None:
        if seconds > self.max_seconds:
            raise BadInput(
                f"the clip has more than {self.max_seconds:g} s of sound: cut it into clips, or raise audio.max_seconds"
            )
