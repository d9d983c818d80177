"""Confident learning is cleanlab's, and finds labels that were planted wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_pipeline.labels.confident import confident_class, confident_joint, suspects, thresholds
from mer_pipeline.labels.votes import MISSING


def opinions(n: int, seed: int, classes: int = 4, wrong: float = 0.15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True labels, given ones with errors, and the probabilities of a fair classifier."""
    rng = np.random.default_rng(seed)
    true = rng.integers(classes, size=n)
    given_label = np.where(rng.random(n) < wrong, (true + rng.integers(1, classes, size=n)) % classes, true)
    logits = rng.normal(size=(n, classes)) + 2.5 * np.eye(classes)[true] * rng.random(n)[:, None] * 2
    probabilities = np.exp(logits)
    return true, given_label, probabilities / probabilities.sum(axis=1, keepdims=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 200), st.integers(0, 2**32 - 1))
def test_thresholds_joint_and_flags_are_cleanlabs(n: int, seed: int) -> None:
    """Exactly, but for rows where the most probable class is below its threshold and two others reach theirs.

    There cleanlab counts the row for that class, the paper (and ours) for the more probable of those that reach it.
    """
    count = pytest.importorskip("cleanlab.count")
    _, labels, probabilities = opinions(n, seed)
    if len(set(labels.tolist())) < 4:
        return
    t = thresholds(probabilities, labels)
    np.testing.assert_allclose(t, count.get_confident_thresholds(labels, probabilities), atol=1e-12)
    reached = probabilities >= t - 1e-6
    odd = (reached.sum(axis=1) > 1) & ~reached[np.arange(n), probabilities.argmax(axis=1)]
    theirs, off = count.compute_confident_joint(
        labels, probabilities, calibrate=False, return_indices_of_off_diagonals=True
    )
    counted = confident_class(probabilities, labels)
    ours = np.flatnonzero((counted != MISSING) & (counted != labels))
    assert set(ours[~odd[ours]]) == {i for i in off if not odd[i]}
    if not odd.any():
        joint = confident_joint(probabilities, labels)
        np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))  # cleanlab's diagonal is at least 1
        np.testing.assert_array_equal(joint, theirs)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_flags_are_those_of_find_label_issues(seed: int) -> None:
    """cleanlab's filter "confident_learning", row by row."""
    cleanlab_filter = pytest.importorskip("cleanlab.filter")
    _, labels, probabilities = opinions(400, seed)
    theirs = cleanlab_filter.find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
    np.testing.assert_array_equal(suspects(probabilities, labels) != MISSING, theirs)


def test_planted_errors_are_found() -> None:
    """Most flags are wrong labels, most of what the classifier knows is flagged, and mostly as the true class."""
    true, labels, probabilities = opinions(3000, 0)
    found = suspects(probabilities, labels)
    flagged = found != MISSING
    wrong = labels != true
    assert wrong[flagged].mean() > 0.5 > 3 * wrong.mean()
    assert flagged[wrong].mean() > 0.5
    assert (found[flagged & wrong] == true[flagged & wrong]).mean() > 0.85


def test_a_class_without_labels_is_no_suspicion() -> None:
    """Its threshold is infinite: how sure a classifier is of it where people say it, nobody knows."""
    probabilities = np.array([[0.2, 0.1, 0.7], [0.3, 0.6, 0.1], [0.6, 0.3, 0.1]])
    labels = np.array([0, 1, 0])
    np.testing.assert_allclose(thresholds(probabilities, labels), [0.4, 0.6, np.inf])
    assert suspects(probabilities, labels).tolist() == [MISSING] * 3


@given(st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_the_names_of_classes_do_not_matter(n: int, seed: int) -> None:
    """A flag moves with its row, and its class with its name."""
    _, labels, probabilities = opinions(n, seed)
    found = suspects(probabilities, labels)
    rows, names = np.random.default_rng(seed).permutation(n), np.array([2, 0, 3, 1])
    renamed = np.empty_like(probabilities)
    renamed[:, names] = probabilities
    again = suspects(renamed[rows], names[labels[rows]])
    np.testing.assert_array_equal(again, np.where(found == MISSING, MISSING, names[found])[rows])
