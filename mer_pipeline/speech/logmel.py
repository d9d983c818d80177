"""`logmel`: an encoder of sound by functionals of log-mel, MFCC, pitch and level; it needs no model and no download.

Each contour has a value every 10 ms and is described by functionals such as its mean, standard deviation and
percentiles, as in the feature sets of openSMILE (Eyben et al., 2010). Only frames with sound are used, so that pauses
do not change what is measured of the voice. The pauses, the pace and the share of voiced frames are separate numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import Encoder, EncoderParams
from mer_pipeline.base.errors import Skip
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.speech.track import Samples, Sound

if TYPE_CHECKING:
    import torch

HOP = SAMPLE_RATE // 100  # samples from one value of a contour to the next: 10 ms
WINDOW = 400  # samples of the window for log-mel and MFCC: 25 ms
MELS = 40
MFCCS = 13
PITCH_RANGE = (60.0, 500.0)  # Hz
SOUND_BELOW_PEAK_DB = 30.0  # a frame with less than this below the level of the clip's loud frames has sound
VOICED_CORRELATION = 0.5  # a frame with a stronger autocorrelation at its pitch period is voiced
PERCENTILES = (10, 50, 90)

Contour = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prosody:
    """Contours of a clip's voice, with a value every 10 ms.

    Attributes:
        level: (frames,) float64, in dBFS.
        sounding: (frames,) bool, whether the level is within SOUND_BELOW_PEAK_DB of the loud frames.
        pitch: (frames,) float64, in Hz; NaN where the frame is not voiced.
    """

    level: Contour
    sounding: npt.NDArray[np.bool_]
    pitch: Contour

    @property
    def voiced(self) -> npt.NDArray[np.bool_]:
        """Whether each frame is voiced: (frames,) bool."""
        return ~np.isnan(self.pitch)

    @property
    def pause_share(self) -> float:
        """The share of frames without sound, from 0 to 1."""
        return 1.0 - float(self.sounding.mean())

    @property
    def pace(self) -> float:
        """The number of peaks of the smoothed level per second, which is about the number of syllables.

        A peak rises at least 2 dB above its surroundings.
        """
        from scipy.ndimage import uniform_filter1d
        from scipy.signal import find_peaks

        smooth = uniform_filter1d(np.maximum(self.level, self.level.max() - 40), size=7)
        peaks, _ = find_peaks(smooth, height=smooth.max() - 25, prominence=2.0)
        return len(peaks) / (len(self.level) / 100)


def prosody(samples: Samples) -> Prosody:
    """Compute the contours of level and pitch.

    The pitch is the lag of the largest normalised autocorrelation in each frame of 40 ms (Boersma, 1993). A median over
    three frames takes out single errors.

    Args:
        samples: (samples,) float32 at 16 kHz.

    Example:
        >>> tone = np.sin(2 * np.pi * 200 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)  # 200 Hz for 1 s
        >>> voice = prosody(tone)
        >>> float(np.nanmedian(voice.pitch))
        200.0
        >>> round(float(np.median(voice.level)), 2)
        -3.01
    """
    frame = 4 * HOP
    padded = np.pad(samples.astype(np.float64), (frame // 2, frame // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::HOP]
    level = 10 * np.log10(np.maximum(np.mean(frames**2, axis=1), 1e-12))
    sounding = level > np.percentile(level, 95) - SOUND_BELOW_PEAK_DB
    centred = (frames - frames.mean(axis=1, keepdims=True)) * np.hanning(frame)
    size = 2 * frame
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    window_power = np.abs(np.fft.rfft(np.hanning(frame), size)) ** 2
    # The division by the window's own autocorrelation removes the fall that the window causes (Boersma, 1993).
    correlation = np.fft.irfft(power)[:, :frame] / np.maximum(np.fft.irfft(window_power)[:frame], 1e-3)
    correlation /= np.maximum(correlation[:, :1], 1e-12)
    low, high = int(SAMPLE_RATE / PITCH_RANGE[1]), int(SAMPLE_RATE / PITCH_RANGE[0])
    lags = np.arange(low, high)
    # Short lags are preferred a little: if several peaks are equal, the first one is the period.
    searched = correlation[:, low:high] - 0.02 * np.log2(lags / low)
    best = searched.argmax(axis=1)
    strength = np.take_along_axis(correlation[:, low:high], best[:, None], axis=1)[:, 0]
    pitch = np.where(sounding & (strength > VOICED_CORRELATION), SAMPLE_RATE / lags[best], np.nan)
    return Prosody(level, sounding, _median3(pitch))


def _median3(contour: Contour) -> Contour:
    """Replace each value by the median of it and its two neighbours where all three are voiced.

    This removes single jumps by an octave.
    """
    if len(contour) < 3:
        return contour
    triple = np.median(np.lib.stride_tricks.sliding_window_view(contour, 3), axis=1)
    inner = np.where(np.isnan(triple), contour[1:-1], triple)
    return np.concatenate([contour[:1], inner, contour[-1:]])


def semitones(pitch: Contour) -> Contour:
    """Convert frequencies in Hz to semitones above 55 Hz, because the ear hears ratios of frequencies.

    Example:
        >>> semitones(np.array([55.0, 110.0, 220.0])).tolist()
        [0.0, 12.0, 24.0]
    """
    return 12 * np.log2(pitch / 55.0)


def prosody_functionals(voice: Prosody) -> Contour:
    """Describe the contours of a clip by functionals.

    Returns:
        (PROSODY_DIM,) float64: the mean, standard deviation, percentiles, slope and mean absolute change of the pitch
        (in semitones, voiced frames only); the same of the level (in dBFS, frames with sound only); the pace, the
        share of pauses, the share of voiced frames, and the length in seconds.
    """
    tones = semitones(voice.pitch[voice.voiced]) if voice.voiced.any() else np.zeros(1)
    loud = voice.level[voice.sounding] if voice.sounding.any() else voice.level
    parts = []
    for contour in (tones, loud):
        slope = np.polyfit(np.linspace(-0.5, 0.5, len(contour)), contour, 1)[0] if len(contour) > 1 else 0.0
        step = np.abs(np.diff(contour)).mean() if len(contour) > 1 else 0.0
        parts += [contour.mean(), contour.std(), *np.percentile(contour, PERCENTILES), slope, step]
    return np.array([*parts, voice.pace, voice.pause_share, voice.voiced.mean(), len(voice.level) / 100])


PROSODY_DIM = 2 * (2 + len(PERCENTILES) + 2) + 4
SPECTRAL_DIM = 2 * MELS + 4 * MFCCS


class LogMelParams(EncoderParams):
    """Functionals of log-mel, MFCC, pitch and level, with pace and pauses."""

    input: Literal["audio"]  # the sound track


class LogMel(Encoder["torch.Tensor"]):
    """An encoder of sound by functionals of its contours.

    An item is the sound of one clip, (samples,) float32. Clips are computed one at a time, so that nothing is padded.
    """

    Params = LogMelParams
    uses_torch = True

    def __init__(self, name: str, params: LogMelParams) -> None:
        super().__init__(name, params, PROSODY_DIM + SPECTRAL_DIM)

    def setup(self, device: torch.device) -> None:
        """Build the filter banks. They stay on the CPU, where a clip takes only milliseconds."""
        import torchaudio

        shared = {"n_fft": WINDOW, "hop_length": HOP, "n_mels": MELS}
        self._mel = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, **shared)
        self._dct = torchaudio.functional.create_dct(MFCCS, MELS, norm="ortho")
        self._deltas = torchaudio.functional.compute_deltas

    def prepare(self, clip: Clip) -> torch.Tensor:
        """Return the sound as a tensor, with zeros at its end if it is shorter than one window.

        Raises:
            Skip: if the clip has no sound.
        """
        import torch

        samples = torch.from_numpy(Sound.of(clip.need("audio")).samples)
        return torch.nn.functional.pad(samples, (0, max(0, WINDOW - len(samples))))

    def infer(self, items: Sequence[torch.Tensor]) -> list[Row | Skip]:
        """Compute the functionals of each clip, one clip after the other. A clip is one step, at its middle."""
        return [self.row(self._functionals(samples), times=[len(samples) / SAMPLE_RATE / 2]) for samples in items]

    def _functionals(self, samples: torch.Tensor) -> Contour:
        import torch

        voice = prosody(samples.numpy())
        with torch.inference_mode():
            mel = torch.log(self._mel(samples) + 1e-6)
            mfcc = mel.T @ self._dct
            deltas = self._deltas(mfcc.T).T
        keep = np.resize(voice.sounding, mel.shape[1]) if len(voice.sounding) else np.ones(mel.shape[1], bool)
        keep = keep if keep.any() else np.ones_like(keep)
        contours = [mel.T.numpy()[keep], mfcc.numpy()[keep], deltas.numpy()[keep]]
        spectral = [f(contour, axis=0, dtype=np.float64) for contour in contours for f in (np.mean, np.std)]
        return np.concatenate([prosody_functionals(voice), *spectral])
