"""The chunks of the official baseline (zeroQiaoba/MERTools): a sound is normalised as a whole, then cut at fixed times.

The official code fills the last chunk up with zeros and averages over these too. Here the last chunk is what is left of
the sound, so that a model sees no padding and none enters the average.
"""

from __future__ import annotations

import numpy as np

from mer_pipeline.base.errors import Skip
from mer_pipeline.media.sound import SAMPLE_RATE
from mer_pipeline.speech.sound_model import Chunks, SoundModel
from mer_pipeline.speech.track import Samples


class FixedChunks(SoundModel):
    """A speech model, not Whisper, whose chunks all have the given length, but for the last.

    Args:
        folder: the folder of the checkpoint.
    """

    def chunks(self, samples: Samples, seconds: float) -> Chunks:
        """Normalise a sound as the checkpoint says, and cut it every so many seconds.

        Args:
            samples: (samples,) float32 at 16 kHz.
            seconds: the length of a chunk. A rest that is shorter than the model needs for one step is left out.

        Raises:
            Skip: if the sound is shorter than the model needs for one step.
        """
        import torch

        length = round(seconds * SAMPLE_RATE)
        sound = self._extract(samples)
        pieces = [sound[start : start + length] for start in range(0, len(sound), length)]
        pieces = [piece for piece in pieces if self.steps(len(piece)) >= 1]
        if not pieces:
            raise Skip("too short for the model")
        padded = self._padded(max(map(len, pieces)))
        inputs = np.stack([np.pad(piece, (0, padded - len(piece))) for piece in pieces])
        return Chunks(torch.from_numpy(inputs), [len(piece) for piece in pieces])
