"""The generator of benchmarks/competition.py: it is what it says, and its posterior is the exact one."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import multivariate_normal

from benchmarks.generated import (
    CLASSES,
    MODALITIES,
    NAMES,
    PRIOR,
    SOURCES,
    TAU,
    M,
    World,
    confusable,
    loading,
    shown,
    transition,
)
from mer_pipeline.base.modalities import Features

SPOTLIGHTS: list[Literal["flat", "overlap"] | None] = [None, "flat", "overlap"]


def test_the_posterior_is_bayes_rule_on_the_dense_gaussians() -> None:
    """By brute force: every pattern of shown classes, and all present values in one Gaussian with full covariance."""
    world = World(3)
    features = world.draw(12, "test", missing=0.5).features
    exact = world.posterior(features)
    sources, owner = list(SOURCES), [one.source for one in MODALITIES.values()]
    for i in range(len(features)):
        there = np.flatnonzero(features.mask[i])
        log = np.log(PRIOR).copy()
        for source in sources:
            seen = [m for m in there if owner[m] == source]
            if not seen:
                continue
            mixing = np.concatenate([MODALITIES[NAMES[m]].gain * world.rotations[m][:, :8] for m in seen])
            noise = np.zeros((len(mixing), len(mixing)))
            at = 0
            for m in seen:
                one = MODALITIES[NAMES[m]]
                variance = np.concatenate([np.ones(8), np.geomspace(one.drown, 0.5, one.dim - 8) ** 2])
                part = slice(at, at + one.dim)
                noise[part, part] = world.rotations[m] * variance @ world.rotations[m].T
                at += one.dim
            x = np.concatenate([features.x[m][i].astype(np.float64) for m in seen])
            covariance = TAU**2 * mixing @ mixing.T + noise
            each = np.array([multivariate_normal.logpdf(x, mixing @ u, covariance) for u in loading(SOURCES[source])])
            log += np.log(shown(SOURCES[source]) @ np.exp(each - each.max()))
        np.testing.assert_allclose(exact[i], softmax(log), atol=1e-6)


@pytest.mark.parametrize("spotlight", SPOTLIGHTS)
def test_the_posterior_is_as_often_right_as_it_says(spotlight: Literal["flat", "overlap"] | None) -> None:
    """For every class and in ten steps of confidence, on 20,000 clips, 30 % of the cells missing in the main world."""
    world = World(0, spotlight)
    clips = world.draw(20_000, "test", missing=0.0 if spotlight else 0.3)
    p = world.posterior(clips.features)
    for c in range(len(CLASSES)):
        for low in np.arange(0, 1, 0.1):
            rows = (p[:, c] >= low) & (p[:, c] < low + 0.1)
            expected, spread = p[rows, c].mean() if rows.any() else 0, np.sqrt((p[rows, c] * (1 - p[rows, c])).sum())
            assert abs((clips.true[rows] == c).sum() - rows.sum() * expected) <= 4.5 * spread + 1e-6
    assert abs((p.argmax(axis=1) == clips.true).mean() - p.max(axis=1).mean()) < 0.01


@pytest.mark.parametrize("spotlight", ["flat", "overlap"])
def test_the_chance_of_each_modality_to_be_the_informative_one_is_right(spotlight: Literal["flat", "overlap"]) -> None:
    """As often as it says; nearly always known among flat ones, hardly better than a coin where all overlap."""
    world = World(1, spotlight)
    p, which = world.spot(world.draw(20_000, "test").features), world.informative(20_000, "test")
    right = (p.argmax(axis=1) == which).mean()
    assert abs(right - p.max(axis=1).mean()) < 0.01
    assert right > 0.97 if spotlight == "flat" else 0.4 < right < 0.6


def test_rates_are_what_was_asked() -> None:
    """Missing cells, wrong labels and classes, of 40,000 clips; everybody has something, what is away is zeros."""
    world = World(0)
    for missing, noise in [(0.0, 0.0), (0.3, 0.1), (0.6, 0.4)]:
        clips = world.draw(40_000, "train", missing=missing, noise=noise)
        mask = clips.features.mask
        assert abs(1 - mask.mean() - missing) < 0.005
        assert mask.any(axis=1).all()
        assert abs((clips.label != clips.true).mean() - noise) < 0.008
        assert all((x[~mask[:, m]] == 0).all() for m, x in enumerate(clips.features.x))
        np.testing.assert_allclose(np.bincount(clips.true) / 40_000, PRIOR, atol=0.008)
        counts = np.zeros((len(PRIOR), len(PRIOR)))
        np.add.at(counts, (clips.true, clips.label), 1)
        np.testing.assert_allclose(counts / counts.sum(axis=1, keepdims=True), transition(noise), atol=0.04)
    assert np.bincount(clips.true).min() / 40_000 < 0.05


def test_wrong_labels_are_confusable_and_people_err_alike() -> None:
    """Errors follow K; two people are wrong together far more often than two who judge alone would be."""
    clips = World(0).draw(40_000, "train", noise=0.2)
    wrong = clips.label != clips.true
    angry = clips.true == 1
    named = np.bincount(clips.label[wrong & angry], minlength=len(PRIOR)) / (wrong & angry).sum()
    assert named[4] > 0.4  # worried
    assert abs(named - confusable()[1]).max() < 0.08
    first, second = (clips.votes[:, :2] != clips.true[:, None]).T
    assert (first & second).mean() > 1.5 * first.mean() * second.mean()


def test_the_two_visual_modalities_see_the_same_and_may_contradict_the_voice() -> None:
    """Given the class, face and frame are correlated and face and voice are not; the face misleads most often."""
    world, n = World(0), 20_000
    clips = world.draw(n, "test")
    v = [x.astype(np.float64) @ q[:, :8] for x, q in zip(clips.features.x, world.rotations, strict=True)]
    rows = clips.true == 1
    face, frame, voice = (part[rows] - part[rows].mean(axis=0) for part in v[:3])
    assert (face * frame).sum() > 0.3 * np.sqrt((face**2).sum() * (frame**2).sum())
    assert abs((face * voice).sum()) < 0.03 * np.sqrt((face**2).sum() * (voice**2).sum())
    alone = {}
    for m, name in enumerate(NAMES):
        mask = np.zeros((n, M), dtype=bool)
        mask[:, m] = True
        only = Features(NAMES, clips.features.x, mask)
        alone[name] = (world.posterior(only).argmax(axis=1) == clips.true).mean()
    assert max(alone, key=alone.__getitem__) == "face"
    assert (world.posterior(clips.features).argmax(axis=1) == clips.true).mean() > alone["face"] + 0.1


def test_a_seed_decides_everything_and_cells_share_their_clips() -> None:
    """The same bytes again; more clips go on from fewer; more noise and more missing add to what there was."""
    one, again = (World(5).draw(200, "train", missing=0.3, noise=0.2) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one.features.x, again.features.x, strict=True))
    assert (one.label == again.label).all()
    more = World(5).draw(300, "train", missing=0.6, noise=0.4)
    assert (more.true[:200] == one.true).all()
    assert not (more.features.mask[:200] & ~one.features.mask).any()
    both = one.features.mask & more.features.mask[:200]
    for m, x in enumerate(one.features.x):
        np.testing.assert_allclose(more.features.x[m][:200][both[:, m]], x[both[:, m]], atol=1e-5)
    wrong, still = one.votes != one.true[:, None], more.votes[:200] != one.true[:, None]
    assert not (wrong & ~still).any()
    assert World(6).draw(200, "train").features.x[0].tobytes() != one.features.x[0].tobytes()
    assert World(5).draw(200, "test").true.tolist() != one.true.tolist()
