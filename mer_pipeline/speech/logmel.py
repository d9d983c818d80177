"""`logmel`: log-mel, MFCC, pitch and energy functionals of a clip's sound, without any model or download.

Each contour (a value every 10 ms) is summed up by functionals, as in openSMILE-style feature sets (Eyben et al.
2010): mean, deviation and percentiles, over the frames with sound only, so that pauses do not dilute
the voice; pauses, pace and the voiced share are numbers of their own.
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

HOP = SAMPLE_RATE // 100
WINDOW = 400
MELS = 40
MFCCS = 13
PITCH_RANGE = (60.0, 500.0)  # Hz
SOUND_BELOW_PEAK_DB = 30.0  # a frame counts as sound down to this far below the clip's loud frames
VOICED_CORRELATION = 0.5
PERCENTILES = (10, 50, 90)

Contour = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prosody:
    """Contours of a clip, a value every 10 ms.

    Attributes:
        level: (frames,) dBFS.
        sounding: (frames,) bool, within SOUND_BELOW_PEAK_DB of the loud frames.
        pitch: (frames,) Hz; NaN where the frame is not voiced.
    """

    level: Contour
    sounding: npt.NDArray[np.bool_]
    pitch: Contour

    @property
    def voiced(self) -> npt.NDArray[np.bool_]:
        """(frames,) bool."""
        return ~np.isnan(self.pitch)

    @property
    def pause_share(self) -> float:
        """Share of frames without sound."""
        return 1.0 - float(self.sounding.mean())

    @property
    def pace(self) -> float:
        """Peaks of the smoothed level per second, each 2 dB out of its surroundings: about the number of syllables."""
        from scipy.ndimage import uniform_filter1d
        from scipy.signal import find_peaks

        smooth = uniform_filter1d(np.maximum(self.level, self.level.max() - 40), size=7)
        peaks, _ = find_peaks(smooth, height=smooth.max() - 25, prominence=2.0)
        return len(peaks) / (len(self.level) / 100)


def prosody(samples: Samples) -> Prosody:
    """Level and pitch contours; pitch by normalised autocorrelation of each 40 ms frame, smoothed by a median.

    Args:
        samples: (samples,) float32 at 16 kHz.
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
    # Dividing by the window's own autocorrelation takes out its slope (Boersma 1993).
    correlation = np.fft.irfft(power)[:, :frame] / np.maximum(np.fft.irfft(window_power)[:frame], 1e-3)
    correlation /= np.maximum(correlation[:, :1], 1e-12)
    low, high = int(SAMPLE_RATE / PITCH_RANGE[1]), int(SAMPLE_RATE / PITCH_RANGE[0])
    lags = np.arange(low, high)
    # A slight preference for short lags: the first of several equal peaks is the period.
    searched = correlation[:, low:high] - 0.02 * np.log2(lags / low)
    best = searched.argmax(axis=1)
    strength = np.take_along_axis(correlation[:, low:high], best[:, None], axis=1)[:, 0]
    pitch = np.where(sounding & (strength > VOICED_CORRELATION), SAMPLE_RATE / lags[best], np.nan)
    return Prosody(level, sounding, _median3(pitch))


def _median3(contour: Contour) -> Contour:
    """Median of three neighbours where all are voiced; takes out single octave jumps."""
    if len(contour) < 3:
        return contour
    triple = np.median(np.lib.stride_tricks.sliding_window_view(contour, 3), axis=1)
    inner = np.where(np.isnan(triple), contour[1:-1], triple)
    return np.concatenate([contour[:1], inner, contour[-1:]])


def semitones(pitch: Contour) -> Contour:
    """Hz to semitones above 55 Hz: the ear hears ratios."""
    return 12 * np.log2(pitch / 55.0)


def prosody_functionals(voice: Prosody) -> Contour:
    """(PROSODY_DIM,) numbers: pitch (mean, deviation, percentiles, slope, change), level likewise, pace, pauses."""
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
    """Log-mel, MFCC, pitch and level functionals, pace, pauses."""

    input: Literal["audio"]  # the sound track


class LogMel(Encoder["torch.Tensor"]):
    """Sound to functionals. An item is (samples,) float32; one clip at a time, so there is nothing to pad."""

    Params = LogMelParams
    uses_torch = True

    def __init__(self, name: str, params: LogMelParams) -> None:
        super().__init__(name, params, PROSODY_DIM + SPECTRAL_DIM)

    def setup(self, device: torch.device) -> None:
        """Build the filter banks. They stay on the CPU: a clip takes milliseconds."""
        import torchaudio

        shared = {"n_fft": WINDOW, "hop_length": HOP, "n_mels": MELS}
        self._mel = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, **shared)
        self._dct = torchaudio.functional.create_dct(MFCCS, MELS, norm="ortho")
        self._deltas = torchaudio.functional.compute_deltas

    def prepare(self, clip: Clip) -> torch.Tensor:
        """Samples as a tensor, at least one analysis window long."""
        import torch

        samples = torch.from_numpy(Sound.of(clip.need("audio")).samples)
        return torch.nn.functional.pad(samples, (0, max(0, WINDOW - len(samples))))

    def infer(self, items: Sequence[torch.Tensor]) -> list[Row | Skip]:
        """One clip after the other."""
        return [self.row(self._functionals(samples)) for samples in items]

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
