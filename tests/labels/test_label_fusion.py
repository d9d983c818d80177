"""Dawid-Skene equals the textbook, and the human-anchored rule changes little and only with company."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mer_pipeline.labels.dawid_skene import dawid_skene
from mer_pipeline.labels.fusion import fuse
from mer_pipeline.labels.votes import MISSING, Votes
from mer_pipeline.params import LabelParams

CLASSES = ("neutral", "angry", "happy", "sad")


def as_votes(matrix: np.ndarray) -> Votes:
    """Votes whose first family is the given label's."""
    n, families = matrix.shape
    names = tuple(f"f{j}" for j in range(families))
    return Votes(
        clip_ids=tuple(f"c{i:04d}" for i in range(n)),
        families=names,
        matrix=matrix,
        given=matrix[:, 0],
        spoken=("",) * n,
        sources=tuple((name,) for name in names),
        single=tuple(matrix[:, [w]] for w in range(families)),
        evidence=(matrix[:, :, None] == np.arange(len(CLASSES))).astype(np.float64),
        gold=np.full(n, MISSING),
    )


def planted(n: int, accuracy: tuple[float, ...], missing: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True labels, and votes of families with these accuracies."""
    rng = np.random.default_rng(seed)
    true = rng.integers(len(CLASSES), size=n)
    columns = []
    for w, right in enumerate(accuracy):
        said = np.where(rng.random(n) < right, true, (true + rng.integers(1, len(CLASSES), size=n)) % len(CLASSES))
        columns.append(np.where((rng.random(n) < missing) & (w > 0), MISSING, said))
    return true, np.stack(columns, axis=1)


def test_planted_confusions_are_recovered() -> None:
    """With thousands of clips the estimated confusion matrices are those that made the votes."""
    accuracy = (0.8, 0.7, 0.75, 0.4)
    true, matrix = planted(4000, accuracy)
    found = dawid_skene(matrix, len(CLASSES))
    for w, right in enumerate(accuracy):
        wrong = (1 - right) / (len(CLASSES) - 1)
        expected = np.full((4, 4), wrong) + np.eye(4) * (right - wrong)
        assert np.abs(found.confusion[w] - expected).max() < 0.07
    assert (found.posterior.argmax(axis=1) == true).mean() > (matrix[:, 0] == true).mean() + 0.05


@given(arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 3)), elements=st.integers(-1, 2)))
def test_the_posterior_is_bayes_rule_on_the_found_parameters(matrix: np.ndarray) -> None:
    """Multiplied out clip by clip and class by class in plain probabilities, missing votes being no factor."""
    found = dawid_skene(matrix, 3)
    for i, row in enumerate(matrix):
        joint = [
            found.prior[c] * np.prod([found.confusion[w, c, k] for w, k in enumerate(row) if k != MISSING])
            for c in range(3)
        ]
        np.testing.assert_allclose(found.posterior[i], np.array(joint) / sum(joint), atol=1e-6)
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1)


def test_what_em_found_is_a_fixed_point() -> None:
    """The M step's formula, by loops, gives back the confusion from the posterior."""
    _, matrix = planted(60, (0.8, 0.7, 0.6))
    found = dawid_skene(matrix, 4)
    for w in range(3):
        for c in range(4):
            seen = np.array([found.posterior[matrix[:, w] == k, c].sum() for k in range(4)])
            counts = seen + np.where(np.arange(4) == c, 4.0, 0.5)
            np.testing.assert_allclose(found.confusion[w, c], counts / counts.sum(), atol=1e-5)
    np.testing.assert_allclose(found.prior, found.posterior.mean(axis=0), atol=1e-5)


@given(arrays(np.int64, st.tuples(st.integers(1, 30), st.just(2)), elements=st.integers(0, 3)))
def test_one_other_family_never_changes_a_label(matrix: np.ndarray) -> None:
    """Two families in agreement are needed beside the given one."""
    fused = fuse(as_votes(matrix), CLASSES, LabelParams(min_posterior=0.0, max_changed=1.0))
    assert (fused.label == matrix[:, 0]).all()


@given(
    arrays(np.int64, st.tuples(st.integers(1, 40), st.just(4)), elements=st.integers(0, 3)),
    st.sampled_from([0.0, 0.1, 0.29, 0.5, 1.0]),
)
def test_a_change_has_company_certainty_and_room(matrix: np.ndarray, cap: float) -> None:
    """Every change meets all three conditions, and a change that was refused was no surer than one that was made."""
    params = LabelParams(min_posterior=0.6, max_changed=cap)
    fused = fuse(as_votes(matrix), CLASSES, params)
    changed = fused.label != matrix[:, 0]
    sure = fused.posterior.max(axis=1)
    wanted = (
        (fused.posterior.argmax(axis=1) != matrix[:, 0])
        & (sure >= 0.6)
        & ((matrix[:, 1:] == fused.posterior.argmax(axis=1)[:, None]).sum(axis=1) >= 2)
    )
    assert (changed <= wanted).all()
    for c in range(4):
        of = matrix[:, 0] == c
        assert (changed & of).sum() == min((wanted & of).sum(), int(cap * of.sum() + 1e-9))
        if (changed & of).any() and (wanted & of & ~changed).any():
            assert sure[changed & of].min() >= sure[wanted & of & ~changed].max()


def test_refined_labels_are_better_than_given_ones() -> None:
    """On planted votes the changes are mostly right."""
    true, matrix = planted(400, (0.8, 0.7, 0.75, 0.75))
    fused = fuse(as_votes(matrix), CLASSES, LabelParams())
    changed = fused.label != matrix[:, 0]
    assert changed.sum() >= 20
    assert (fused.label[changed] == true[changed]).mean() > 0.85


@pytest.mark.parametrize("method", ["given", "majority", "human-anchored"])
def test_the_given_family_alone_changes_nothing(method: str) -> None:
    """Nor does method 'given' ever."""
    _, matrix = planted(30, (0.8, 0.7, 0.7))
    alone = fuse(as_votes(matrix[:, :1]), CLASSES, LabelParams.model_validate({"method": method}))
    assert (alone.label == matrix[:, 0]).all()
    assert (fuse(as_votes(matrix), CLASSES, LabelParams(method="given")).label == matrix[:, 0]).all()


def test_the_majority_wins_and_a_tie_keeps_the_given_label() -> None:
    """Three against one is clear; one each, or two against two, is not."""
    matrix = np.array([[0, 1, 1, 1], [0, 1, 2, MISSING], [0, 0, 3, 3], [0, 3, 3, 1]])
    fused = fuse(as_votes(matrix), CLASSES, LabelParams(method="majority"))
    assert fused.label.tolist() == [1, 0, 0, 3]
    np.testing.assert_allclose(fused.posterior[3], [0.25, 0.25, 0, 0.5])
