"""Samples to log-mel statistics."""

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from workload.mel import log_mel

Floats = npt.NDArray[np.float32]

FRAME, HOP, BINS = 400, 160, 512
WINDOW = np.hanning(FRAME).astype(np.float32)


def statistics(samples: Floats, rate: int) -> Floats:
    """Mean and deviation of each band over the frames."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP] * WINDOW
    spectrum = rfft(frames, BINS, axis=1)
    mel = log_mel((spectrum.real**2 + spectrum.imag**2).astype(np.float32), rate)
    return np.concatenate([mel.mean(axis=0), mel.std(axis=0)])
