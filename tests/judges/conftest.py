"""Small real checkpoints, and judges made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_pipeline.base.clips import Row
from mer_pipeline.config.components import JUDGES
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.judges.judge import JUDGE, Judge, make_judge
from tests.conftest import clip, face_row, pictures, sound_row, tables_of, valid

# The small checkpoints that a kind of judge loads, and the map of their labels.
CHECKPOINTS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "open-clip": (("open-clip",), {}),
    "hf-image": (("vit",), {"map": "fer2013"}),
    "hf-audio": (("hubert-emotion", "wav2vec2-emotion", "whisper-emotion"), {"map": "iemocap"}),
}

# Of every line of the table that loads a model: checkpoint to the section of its judge.
KINDS: dict[str, dict[str, str]] = {
    name: {"kind": kind, "input": tables_of(params)[0], **CHECKPOINTS[kind][1]}
    for kind in JUDGES.built_in
    if "checkpoint" in (params := JUDGES.load(kind).Params).model_fields
    for name in CHECKPOINTS[kind][0]
}
Make = Callable[..., Judge[object]]


@pytest.fixture
def make(tiny: Path) -> Make:
    """A judge on a small checkpoint, set up; options are of its params."""

    def made(
        name: str, classes: tuple[str, ...] = MER_CLASSES, *, setup: bool = True, **options: object
    ) -> Judge[object]:
        section = {**KINDS[name], "checkpoint": f"dir:{tiny / name}", **options}
        judge = make_judge("x", JUDGE.parse(section), classes)
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
