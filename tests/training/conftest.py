"""The planted dataset, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import TrainParams
from tests.planted import Planted, plant, with_strengths, write


@pytest.fixture
def planted() -> Planted:
    """60 labelled clips in 5 folds, and 40 others."""
    return plant()


@pytest.fixture
def params() -> TrainParams:
    """Small enough for tests. There is one strength of linear heads, since to choose takes most of the time."""
    return with_strengths(TrainParams(d=16, epochs=12, patience=6, seeds=(0, 1), lr=3e-3), 1e-2)


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    """`planted.write` into a folder of this test, "project" unless named otherwise."""

    def write_to(planted: Planted, name: str = "project", **choices: bool) -> Project:
        return write(tmp_path / name, planted, **choices)

    return write_to
