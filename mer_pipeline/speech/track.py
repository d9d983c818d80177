"""The sound track: 16 kHz mono from the clip, or from the sound file that the dataset has beside it.

Loudness is information about emotion: no clip is made as loud as another one, and channels are mixed as loud as they
are meant (mer_pipeline/media/sound.py). Silence is no sound: such a clip is skipped, so that its absence travels to the
fusion head instead of a vector made of noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.errors import Skip
from mer_pipeline.base.transform import Source, Transform
from mer_pipeline.config.section import Section
from mer_pipeline.media.container import listed_content
from mer_pipeline.media.sound import SAMPLE_RATE, read_sound

Samples = npt.NDArray[np.float32]

LOUDEST_SECONDS = 0.05
FULL_SCALE = 32768.0
FLOOR_DBFS = -120.0


class AudioParams(Section):
    """16 kHz mono sound; loudness is information and is not evened out."""

    silence_dbfs: Annotated[float, Field(le=0.0)] = -60.0  # a clip whose loudest 50 ms is below this is silent
    max_seconds: Annotated[float, Field(gt=0)] = 120.0  # a clip with more sound has to be cut into clips


@dataclass(frozen=True)
class Sound:
    """A clip's row of `data/audio/`: (samples,) float32 in [-1, 1) at 16 kHz."""

    samples: Samples

    @classmethod
    def of(cls, row: Row) -> Sound:
        """From a row."""
        pcm = row["pcm"]
        assert isinstance(pcm, bytes)
        return cls(np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(FULL_SCALE))


def dbfs(samples: Samples) -> float:
    """Root mean square in decibels relative to full scale, at least FLOOR_DBFS."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
    return max(FLOOR_DBFS, 10 * np.log10(power)) if power > 0 else FLOOR_DBFS


def loudest_dbfs(samples: Samples) -> float:
    """Level of the loudest LOUDEST_SECONDS: a whole clip's mean would call one short cry in a quiet room silent."""
    span = min(len(samples), int(LOUDEST_SECONDS * SAMPLE_RATE))
    if span == 0:
        return FLOOR_DBFS
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    power = float(np.max(energy[span:] - energy[:-span])) / span
    return max(FLOOR_DBFS, 10 * np.log10(power)) if power > 0 else FLOOR_DBFS


class ExtractAudio(Transform[Row]):
    """Media file to 16-bit samples; all the work is in `prepare`."""

    name = "audio"
    sources = (Source("manifest", ("audio_sha256", "video_sha256"), locators=("audio", "video")),)
    schema = pa.schema(
        [
            pa.field("pcm", pa.binary()),  # 16-bit little-endian, mono, 16 kHz
            pa.field("seconds", pa.float32()),
            pa.field("loudest_dbfs", pa.float32()),
            pa.field("rms_dbfs", pa.float32()),
        ]
    )

    def __init__(self, params: AudioParams, root: Path) -> None:
        self.params: AudioParams = params
        self.root = root

    def prepare(self, clip: Clip) -> Row:
        """Decode, mix down, resample, round to 16 bits."""
        row = clip.need("manifest")
        place = row["audio"] or row["video"]
        if place is None:
            raise Skip("no sound: the dataset has no file of this clip")
        path = self.root / str(place)
        with listed_content(path, row["audio_sha256"] if row["audio"] else row["video_sha256"]):
            sound = read_sound(path, self.params.max_seconds)
        pcm = np.clip(np.round(sound * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")
        samples = pcm.astype(np.float32) / np.float32(FULL_SCALE)
        loudest = loudest_dbfs(samples)
        if loudest < self.params.silence_dbfs:
            raise Skip("silent")
        return {
            "pcm": pcm.tobytes(),
            "seconds": len(pcm) / SAMPLE_RATE,
            "loudest_dbfs": loudest,
            "rms_dbfs": dbfs(samples),
        }

    def infer(self, items: Sequence[Row]) -> list[Row | Skip]:
        """Nothing is left to do."""
        return list(items)
