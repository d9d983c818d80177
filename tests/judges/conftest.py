"""Small real checkpoints, and judges made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_pipeline.clips import Row
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.judges.make import AnyJudge, make_judge
from tests.conftest import clip, face_row, pictures, sound_row, valid

# Checkpoint to kind, input and map.
KINDS: dict[str, tuple[str, str, str | None]] = {
    "open-clip": ("open-clip", "faces", None),
    "vit": ("hf-image", "frames", "fer2013"),
    "hubert-emotion": ("hf-audio", "audio", "iemocap"),
    "wav2vec2-emotion": ("hf-audio", "audio", "iemocap"),
    "whisper-emotion": ("hf-audio", "audio", "iemocap"),
}
Make = Callable[..., AnyJudge]


@pytest.fixture
def make(tiny: Path) -> Make:
    """A judge on a small checkpoint, set up; options are of JudgeParams."""

    def made(name: str, classes: tuple[str, ...] = MER_CLASSES, *, setup: bool = True, **options: object) -> AnyJudge:
        kind, source, map_name = KINDS[name]
        of = {"kind": kind, "input": source, "map": map_name, "checkpoint": f"dir:{tiny / name}"}
        judge = make_judge("x", JudgeParams.model_validate({**of, **options}), classes)
        if setup:
            judge.setup(torch.device("cpu"))
        return judge

    return made


def noise(seconds: float, seed: int = 0) -> Row:
    """A row of the audio table."""
    return sound_row(np.random.default_rng(seed).normal(0, 0.1, int(16_000 * seconds)))


CLIPS = [
    clip(str(at), frames=valid(jpegs=pictures(n, at), times=[0.1 * i for i in range(n)]), faces=face_row(n, at),
         audio=noise(seconds, at))
    for at, (n, seconds) in enumerate([(3, 1.0), (8, 2.7), (1, 0.06), (5, 1.4), (2, 1.45)])
]  # fmt: skip
CLIPS.append(clip("silent", frames=CLIPS[0].rows["frames"], faces=face_row(2, 9), audio=sound_row(np.zeros(16_000))))
