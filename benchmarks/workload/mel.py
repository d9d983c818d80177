"""The last step, and the one that the benchmark changes: two modules away from the function that is cached."""

from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BANDS = 64
FLOOR = 1e-6


def log_mel(power: Floats, rate: int) -> Floats:
    """Log-mel of a power spectrogram (frames, bins)."""
    return np.log(power @ filters(power.shape[1], rate) + np.float32(FLOOR))


@cache
def filters(bins: int, rate: int) -> Floats:
    """Triangles, evenly spaced on the mel scale (bins, BANDS)."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    hertz = np.linspace(0, rate / 2, bins)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
