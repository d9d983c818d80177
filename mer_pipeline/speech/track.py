"""The stage `audio`: read the sound of a clip at 16 kHz in mono, from its video or from a sound file of its own.

No clip is made as loud as another one, because the loudness tells something about emotion, and channels are mixed as
loud as they are meant (mer_pipeline/media/sound.py). A silent clip is skipped. Then a fusion head knows that the
modality is absent, and is not given a vector of noise.
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
FULL_SCALE = 32768.0  # the 16-bit value that stands for 1.0
FLOOR_DBFS = -120.0  # the lowest level that is given: that of digital silence would be minus infinity


class AudioParams(Section):
    """Sound at 16 kHz in mono. No clip is made as loud as another one, because that tells something about emotion."""

    silence_dbfs: Annotated[float, Field(le=0.0)] = -60.0  # a clip whose loudest 50 ms is below this is silent
    max_seconds: Annotated[float, Field(gt=0)] = 120.0  # a clip with more sound has to be cut into clips


@dataclass(frozen=True)
class Sound:
    """A clip's row of the table `audio`.

    Attributes:
        samples: (samples,) float32 in [-1, 1), at 16 kHz.
    """

    samples: Samples

    @classmethod
    def of(cls, row: Row) -> Sound:
        """Read the samples of a row."""
        pcm = row["pcm"]
        assert isinstance(pcm, bytes)
        return cls(np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(FULL_SCALE))


def dbfs(samples: Samples) -> float:
    """Return the level of a sound: its root mean square in decibels relative to 1.0, but at least FLOOR_DBFS.

    Args:
        samples: (samples,) float32.

    Example:
        >>> round(float(dbfs(np.full(100, 0.1, np.float32))), 4)
        -20.0
    """
    power = float(np.mean(np.square(samples, dtype=np.float64))) if samples.size else 0.0
    return max(FLOOR_DBFS, 10 * np.log10(power)) if power > 0 else FLOOR_DBFS


def loudest_dbfs(samples: Samples) -> float:
    """Return the level of the loudest LOUDEST_SECONDS of a sound in dBFS, but at least FLOOR_DBFS.

    It decides whether a clip is silent. The level of the whole clip is not used, because a clip with one short cry in a
    quiet room would then be called silent.

    Args:
        samples: (samples,) float32 at 16 kHz.
    """
    span = min(len(samples), int(LOUDEST_SECONDS * SAMPLE_RATE))
    if span == 0:
        return FLOOR_DBFS
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    power = float(np.max(energy[span:] - energy[:-span])) / span
    return max(FLOOR_DBFS, 10 * np.log10(power)) if power > 0 else FLOOR_DBFS


class ExtractAudio(Transform[Row]):
    """The transform from a media file to 16-bit samples. `prepare` does all the work."""

    name = "audio"
    decodes = True
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

    def media(self, clip: Clip) -> Sequence[Path]:
        """The sound file, or the video."""
        row = clip.need("manifest")
        place = row["audio"] or row["video"]
        return [] if place is None else [self.root / str(place)]

    def prepare(self, clip: Clip) -> Row:
        """Decode the sound to mono at 16 kHz and round it to 16 bits.

        Raises:
            Skip: if the clip has no sound, or is silent.
            BadInput: if the file is broken.
            Transient: if the file is missing or was altered, or the disk failed.
        """
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
        """Return the rows as they are: `prepare` has done all the work."""
        return list(items)
