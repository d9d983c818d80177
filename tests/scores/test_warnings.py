"""Warnings about scores: each fault that a reviewer would find is one sentence, and sound data have none."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import brier_score_loss, f1_score, log_loss

from mer_pipeline.base.modalities import Features
from mer_pipeline.metrics.scores import GroupedScore
from mer_pipeline.scores.baselines import baselines, shares, shares_without_fold
from mer_pipeline.scores.bootstrap import units_of
from mer_pipeline.scores.calibration import brier
from mer_pipeline.scores.near_copies import near_copies
from mer_pipeline.scores.score import grouped_score
from mer_pipeline.scores.warnings import about_copies, about_labels, about_score, about_test
from tests.planted import sure

CLASSES = ("calm", "happy", "sad")


def scored(right: float, seed: int = 0, n: int = 120) -> GroupedScore:
    """The score of predictions of which this share is right, of twelve speakers."""
    rng = np.random.default_rng(seed)
    true = np.arange(n) % 3
    said = np.where(rng.random(n) < right, true, (true + 1) % 3)
    return grouped_score(true, [sure(said, 3)], units_of([f"s{i % 12}" for i in range(n)]))


def test_the_majority_baseline_is_scikit_learns() -> None:
    """And log loss and Brier score of the prior are those of its dummy that says the shares."""
    rng = np.random.default_rng(0)
    train, true = rng.choice(3, 90, p=[0.5, 0.3, 0.2]), rng.choice(3, 60, p=[0.4, 0.4, 0.2])
    found = baselines(true, np.tile(shares(train, 3), (60, 1)), CLASSES)
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((90, 1)), train)
    said = dummy.predict_proba(np.zeros((60, 1)))
    assert found.label == "calm"
    expected = f1_score(true, dummy.predict(np.zeros((60, 1))), average="weighted", zero_division=0)
    assert found.majority.weighted_f1 == pytest.approx(expected, abs=1e-6)
    assert found.prior.log_loss == pytest.approx(log_loss(true, said), abs=1e-5)
    assert found.prior.uar == pytest.approx(1 / 3, abs=1e-5)
    drawn = [rng.choice(3, 60, p=shares(train, 3).astype(np.float64) / shares(train, 3).sum()) for _ in range(2000)]
    mean = np.mean([f1_score(true, one, average="weighted", zero_division=0) for one in drawn])
    assert found.prior.weighted_f1 == pytest.approx(mean, abs=0.01)


def test_the_prior_of_a_fold_knows_the_other_folds_only() -> None:
    """As the head that is scored there."""
    found = shares_without_fold(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 2)
    assert found.tolist() == [[0, 1], [0, 1], [1, 0], [1, 0]]


def test_the_brier_score_is_scikit_learns() -> None:
    """Of two classes ours is twice theirs, which counts one class only."""
    p, label = np.random.default_rng(0).random(50), np.arange(50) % 2
    assert brier(np.stack([1 - p, p], axis=1), label) == pytest.approx(2 * brier_score_loss(label, p), abs=1e-6)


def test_sound_labels_have_no_warning() -> None:
    """Twelve speakers with clips of all classes."""
    assert about_labels(np.arange(120) % 3, [f"s{i // 10}" for i in range(120)], CLASSES) == []


@pytest.mark.parametrize(
    ("given", "groups", "says"),
    [
        (np.arange(60) % 3, ["anna"] * 60, "all labelled clips are of one speaker"),
        (np.arange(60) % 3, [f"clip{i}" for i in range(60)], "no two labelled clips are known to be of one speaker"),
        (
            np.arange(60) // 20,
            [f"s{i // 5}" for i in range(60)],
            "100 % of the labelled clips are of speakers with clips",
        ),
        (np.array([0] * 30 + [1] * 26 + [2] * 4), [f"s{i % 6}" for i in range(60)], "the class 'sad' has 4 labelled"),
    ],
    ids=["one speaker", "no speakers", "label is speaker", "rare class"],
)
def test_faulty_labels_are_said(given: np.ndarray, groups: list[str], says: str) -> None:
    """In one sentence each."""
    (found,) = about_labels(given, groups, CLASSES)
    assert found.startswith(says)


def test_pairs_of_clips_may_agree_by_chance() -> None:
    """Of speakers with two clips each, most of one frequent class, many have one class only; that is no fault."""
    given = np.random.default_rng(0).choice(3, 200, p=[0.9, 0.06, 0.04])
    assert about_labels(given, [f"s{i // 2}" for i in range(200)], CLASSES) == []


def features(seed: int = 0, n: int = 200) -> Features:
    """Noise of three modalities; one is wide, and each is absent of some clips."""
    rng = np.random.default_rng(seed)
    x = tuple(rng.normal(size=(n, dim)).astype(np.float32) for dim in (12, 300, 40))
    return Features(("face", "voice", "words"), x, rng.random((n, 3)) > 0.1)


def test_near_copies_are_found_in_whatever_scale_and_only_across_parts() -> None:
    """Equal clips and clips that are a hundredth off; not where one modality differs, nor within a part."""
    made, fold = features(), np.arange(200) % 5
    scale = np.float32([1e-3, 1.0, 1e4])
    x = tuple((s * one).copy() for s, one in zip(scale, made.x, strict=True))
    mask = made.mask.copy()
    mask[:8] = True
    rng = np.random.default_rng(1)
    for m, one in enumerate(x):
        one[1] = one[0] + scale[m] * 0.01 * rng.normal(size=one.shape[1]).astype(np.float32)
        one[7], one[3] = one[2], one[2]  # 2 and 7 are of one fold
        if m != 1:
            one[5] = one[4]
    found = Features(made.names, x, mask)
    assert near_copies(found, fold) == [(0, 1), (2, 3), (3, 7)]
    (said,) = about_copies(found, fold, [f"c{i}" for i in range(200)], "in another fold")
    assert said.startswith("5 clips have nearly the same features as a clip in another fold, such as 'c0' and 'c1'")


def test_clips_without_a_modality_in_common_and_constant_modalities_are_no_copies() -> None:
    """Nothing is known of the first; the second would make all clips copies."""
    mask = np.eye(2, dtype=bool)[np.arange(40) % 2]
    ones = Features(("face", "voice"), (np.ones((40, 3), np.float32), np.ones((40, 3), np.float32)), mask)
    assert near_copies(ones, np.arange(40) % 5) == []
    made = features()
    merged = made.merged(("face", "words"), "both")  # NaN where a part is absent
    assert near_copies(merged, np.arange(200) % 5) == []


def test_a_score_that_is_not_above_guessing_is_said() -> None:
    """By its interval; a good one is not."""
    blind = baselines(np.arange(120) % 3, np.full((120, 3), 1 / 3, np.float32), CLASSES)
    (said,) = about_score(scored(0.33), blind, "ecmf, cross-validated")
    assert "is not told from 0.333, which is had without looking at a clip" in said
    assert about_score(scored(0.7), blind, "ecmf, cross-validated") == []


def test_cross_validation_far_above_the_test_is_said() -> None:
    """As of features that have seen the labels. A gap that chance explains is not."""
    (said,) = about_test(scored(0.99), scored(0.77, seed=1))
    assert said.startswith("the weighted F1 is 0.9")
    assert about_test(scored(0.80), scored(0.77, seed=1)) == []
    assert about_test(scored(0.8, n=24), scored(0.65, seed=3, n=24)) == []
