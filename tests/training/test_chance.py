"""On pure noise no head, combination, ensemble or search is above chance. benchmarks/chance.py has more of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import SearchParams, SearchSpace, TrainParams
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.training.cross_validation import Labels, cross_validate
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.train import train
from tests.planted import Planted, plant, task_of, with_strengths

N, FOLDS, DRAWS = 90, 5, 4
PARAMS = with_strengths(TrainParams(d=8, epochs=3, patience=2, lr=3e-3, seeds=(0,)), 1e-2)
SEARCH = SearchParams(trials=2, batch=2, space=SearchSpace(lr=(1e-4, 1e-2)))
HEADS_OF_ALL = [*HEADS.built_in, "ecmf+late"]


def noise(draw: int) -> tuple[Features, Labels]:
    """90 clips of three classes; two modalities that know nothing of them."""
    rng = np.random.default_rng(draw)
    y, fold = rng.permutation(np.arange(N) % 3), np.empty(N, dtype=np.int64)
    fold[np.argsort(y, kind="stable")] = np.arange(N) % FOLDS
    x = tuple(rng.normal(size=(N, dim)).astype(np.float32) for dim in (12, 6))
    held_out = np.where(fold == np.arange(FOLDS)[:, None], MISSING, y)
    labels = Labels(tuple(f"{i:02}" for i in range(N)), fold, y, y, held_out, y)
    return Features(("face", "voice"), x, np.ones((N, 2), bool)), labels


@pytest.mark.parametrize("name", [*HEADS_OF_ALL, "ecmf, searched"])
def test_on_noise_it_is_at_chance(name: str) -> None:
    """Of 360 clips in four draws a third is right, to three standard errors of as many clips."""
    head, _, searched = name.partition(", ")
    params = PARAMS.model_copy(update={"search": SEARCH}) if searched else PARAMS
    params = params.with_heads("concat", "logreg", "ensemble") if head == "ensemble" else params
    right = 0
    with fixed_threads():
        for draw in range(DRAWS):
            features, labels = noise(draw)
            said = cross_validate(head, features, labels, 3, params).probabilities[0].argmax(axis=1)
            right += int((said == labels.given).sum())
    assert abs(right / (DRAWS * N) - 1 / 3) < 3 * (2 / 9 / (DRAWS * N)) ** 0.5


def test_noise_scores_high_where_folds_share_copies_and_the_stage_says_why(project: Callable[..., Project]) -> None:
    """Every second clip is a copy of the one before, which is in another fold."""
    rng = np.random.default_rng(0)
    made: Planted = plant()
    of = np.arange(100) // 2 * 2
    x = tuple(rng.normal(size=one.shape).astype(np.float32)[of] for one in made.features.x)
    copies = replace(made, features=Features(made.features.names, x, np.ones((100, 3), bool)))
    copies = replace(copies, given=made.given[of], true=made.true[of])
    quick = PARAMS.with_heads("logreg").model_copy(update={"single_modality": False})
    at = project(copies)
    line = train(task_of(quick), FOLDS, at, HeadCache(None))
    found = json.loads(at.metrics("train").read_text())
    assert (
        found["heads"]["logreg"]["given"]["weighted_f1"] > found["baselines"]["given"]["majority"]["weighted_f1"] + 0.2
    )
    assert [one for one in found["warnings"] if one.startswith("60 clips have nearly the same features as a clip in")]
    assert "warning: 60 clips have nearly the same features" in line
