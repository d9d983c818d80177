"""Dawid-Skene equals the textbook, and the human-anchored rule changes little and only with company."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mer_pipeline.labels.dawid_skene import dawid_skene
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.labels.refinement import refine
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.labels.weighted import agreement_with_others
from tests.labels.make import as_votes, planted

CLASSES = ("neutral", "angry", "happy", "sad")


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
    params = LabelParams(method="human-anchored", min_posterior=0.0, max_changed=1.0)
    for either in (params, LabelParams()):
        assert (refine(as_votes(matrix), CLASSES, either).label == matrix[:, 0]).all()


@given(
    arrays(np.int64, st.tuples(st.integers(1, 40), st.just(4)), elements=st.integers(0, 3)),
    st.sampled_from([0.0, 0.1, 0.29, 0.5, 1.0]),
)
def test_a_change_has_company_certainty_and_room(matrix: np.ndarray, cap: float) -> None:
    """Every change meets all three conditions, and a change that was refused was no surer than one that was made."""
    params = LabelParams(method="human-anchored", min_posterior=0.6, max_changed=cap)
    refined = refine(as_votes(matrix), CLASSES, params)
    changed = refined.label != matrix[:, 0]
    sure = refined.posterior.max(axis=1)
    wanted = (
        (refined.posterior.argmax(axis=1) != matrix[:, 0])
        & (sure >= 0.6)
        & ((matrix[:, 1:] == refined.posterior.argmax(axis=1)[:, None]).sum(axis=1) >= 2)
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
    refined = refine(as_votes(matrix), CLASSES, LabelParams())
    changed = refined.label != matrix[:, 0]
    assert changed.sum() >= 20
    assert (refined.label[changed] == true[changed]).mean() > 0.85


METHODS = [
    "given",
    "majority",
    "weighted",
    "one-coin",
    "dawid-skene",
    "dirichlet-multinomial",
    "human-anchored",
    "consensus",
]


@pytest.mark.parametrize("method", METHODS)
def test_the_given_family_alone_changes_nothing(method: str) -> None:
    """Nor does method 'given' ever."""
    _, matrix = planted(30, (0.8, 0.7, 0.7))
    alone = refine(as_votes(matrix[:, :1]), CLASSES, LabelParams.model_validate({"method": method}))
    assert (alone.label == matrix[:, 0]).all()
    assert (refine(as_votes(matrix), CLASSES, LabelParams(method="given")).label == matrix[:, 0]).all()


def test_the_majority_wins_and_a_tie_keeps_the_given_label() -> None:
    """Three against one is clear; one each, or two against two, is not."""
    matrix = np.array([[0, 1, 1, 1], [0, 1, 2, MISSING], [0, 0, 3, 3], [0, 3, 3, 1]])
    refined = refine(as_votes(matrix), CLASSES, LabelParams(method="majority"))
    assert refined.label.tolist() == [1, 0, 0, 3]
    np.testing.assert_allclose(refined.posterior[3], [0.25, 0.25, 0, 0.5])


@pytest.mark.parametrize("method", METHODS[1:])
def test_gold_stands(method: str) -> None:
    """Whatever all the others say; its posterior is one, and it uses up nothing of the cap. 'given' refines nothing."""
    _, matrix = planted(60, (0.8, 0.7, 0.75, 0.7))
    matrix[:5] = 1
    gold = np.where(np.arange(60) < 5, 3, MISSING)
    params = {"method": method, "max_changed": 0.0}
    refined = refine(replace(as_votes(matrix), gold=gold), CLASSES, LabelParams.model_validate(params))
    assert (refined.label[:5] == 3).all()
    assert (refined.posterior[:5] == np.eye(4)[3]).all()
    assert set(refined.reason[:5]) == {"sad is gold"}
    as_given = refine(replace(as_votes(matrix), gold=gold), CLASSES, LabelParams(method="given"))
    assert (as_given.label == matrix[:, 0]).all()
    alone = refine(replace(as_votes(matrix[:, :1]), gold=gold), CLASSES, LabelParams.model_validate(params))
    assert alone.label.tolist() == [3] * 5 + matrix[5:, 0].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_clips_does_not_matter(method: str) -> None:
    """Label and posterior of a clip are the same bit for bit wherever it stands."""
    _, matrix = planted(80, (0.8, 0.7, 0.75, 0.6))
    params = LabelParams.model_validate({"method": method, "max_changed": 1.0})
    shuffled = np.random.default_rng(1).permutation(80)
    refined, again = (refine(as_votes(m), CLASSES, params) for m in (matrix, matrix[shuffled]))
    assert (refined.posterior[shuffled] == again.posterior).all()
    assert (refined.label[shuffled] == again.label).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_names_of_classes_and_the_order_of_sources_do_not_matter(method: str) -> None:
    """Renaming the classes renames the answer; the other families may stand in any order."""
    _, matrix = planted(80, (0.8, 0.7, 0.75, 0.6))
    params = LabelParams.model_validate({"method": method, "max_changed": 1.0})
    refined = refine(as_votes(matrix), CLASSES, params)
    renamed = np.array([2, 0, 3, 1])
    other = refine(as_votes(np.where(matrix == MISSING, MISSING, renamed[matrix])), CLASSES, params)
    np.testing.assert_allclose(other.posterior[:, renamed], refined.posterior, atol=1e-5)
    moved = refine(as_votes(matrix[:, [0, 3, 1, 2]]), CLASSES, params)
    np.testing.assert_allclose(moved.posterior, refined.posterior, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_family_that_never_votes_does_not_matter(method: str) -> None:
    """A missing vote is no factor."""
    _, matrix = planted(80, (0.8, 0.7, 0.75))
    silent = np.column_stack([matrix, np.full(80, MISSING)])
    params = LabelParams.model_validate({"method": method})
    refined, again = (refine(as_votes(m), CLASSES, params) for m in (matrix, silent))
    np.testing.assert_allclose(again.posterior, refined.posterior, atol=1e-9)
    assert (again.label == refined.label).all()


def test_weights_tell_good_from_bad() -> None:
    """The weighted vote follows two good families against three poor ones, where the majority can't."""
    true, matrix = planted(600, (0.85, 0.85, 0.4, 0.4, 0.4), missing=0.0)
    told = agreement_with_others(matrix, 4)
    assert told[:2].min() > told[2:].max() + 0.1
    better = refine(as_votes(matrix), CLASSES, LabelParams(method="weighted")).label
    plain = refine(as_votes(matrix), CLASSES, LabelParams(method="majority")).label
    assert (better == true).mean() > (plain == true).mean() + 0.01


def test_two_tie_for_weight_and_the_given_label_is_one() -> None:
    """It stays; and a family that agrees with nobody weighs nothing."""
    matrix = np.array([[0, 1], [1, 0], [2, 3]])
    refined = refine(as_votes(matrix), CLASSES, LabelParams(method="weighted"))
    assert refined.label.tolist() == [0, 1, 2]
    np.testing.assert_allclose(refined.posterior, 0.25)
