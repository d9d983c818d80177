"""Leave-one-out importance is what it says, on a predictor whose answer can be worked out and on a trained head."""

from __future__ import annotations

import numpy as np
import pytest

from mer_pipeline.base.modalities import Features, Matrix
from mer_pipeline.config.train_params import TrainParams
from mer_pipeline.heads.base import Examples
from mer_pipeline.scores.importance import FLOOR, leave_one_out
from mer_pipeline.training.member import Member, fit_members, fixed_threads
from tests.planted import CLASSES, NAMES, Planted


@pytest.fixture
def member(planted: Planted) -> Member:
    """Trained on all labelled clips; of its modalities the scene tells most and the face nothing."""
    rows = np.flatnonzero(planted.fold >= 0)
    train = Examples.of(rows, planted.true[rows], planted.fold[rows], len(CLASSES))
    with fixed_threads():
        return fit_members("logreg", planted.features, [(train, None)], [0], len(CLASSES), TrainParams())[0][0]


def additive(features: Features) -> Matrix:
    """Softmax of the sum of the present modalities' values: each adds its own, so that the drop is known."""
    logits = np.concatenate([features.x[0] * features.mask[:, :1], features.x[1] * features.mask[:, 1:]], axis=1)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float32)


def test_it_is_the_drop_of_the_log_probability_of_the_predicted_or_the_given_class() -> None:
    """Worked out by hand for two modalities that each hold one class's logit."""
    features = Features(("a", "b"), (np.float32([[2.0], [0.0]]), np.float32([[0.0], [1.0]])), np.ones((2, 2), bool))
    e = np.exp
    # First clip: class 0 of logits (2, 0); without a (0, 0). Second: class 1 of (0, 1).
    first = np.log(e(2) / (e(2) + 1)) - np.log(0.5)
    second = np.log(e(1) / (e(1) + 1)) - np.log(0.5)
    np.testing.assert_allclose(leave_one_out(additive, features), [[first, 0], [0, second]], atol=1e-6)
    against = np.log(1 / (e(2) + 1)) - np.log(0.5)
    found = leave_one_out(additive, features, np.array([1, 1]))
    np.testing.assert_allclose(found[0], [against, 0], atol=1e-6)
    assert found.dtype == np.float32


def test_an_absent_modality_has_none_and_the_only_one_is_measured_against_the_prior(
    member: Member, planted: Planted
) -> None:
    """Exactly zero for what is not there; a clip with one modality falls back to the training prior without it."""
    features = planted.features
    found = leave_one_out(lambda given: member.predict(given).probabilities, features)
    assert found.shape == features.mask.shape
    assert (found[~features.mask] == 0).all()
    only = np.zeros_like(features.mask)
    only[:, 0] = True
    single = Features(NAMES, features.x, only)
    said = member.predict(single).probabilities
    best = said.argmax(axis=1)
    expected = np.log(said.max(axis=1)) - np.log(member.prior[best])
    found = leave_one_out(lambda given: member.predict(given).probabilities, single)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)


def test_it_finds_the_modality_that_tells_the_class(member: Member, planted: Planted) -> None:
    """Of the true class, on clips that have all: the strong scene far more than the face, which says nothing."""
    rows = np.flatnonzero(planted.features.mask.all(axis=1))
    features = planted.features.take(rows)
    mean = leave_one_out(lambda given: member.predict(given).probabilities, features, planted.true[rows]).mean(axis=0)
    assert mean.argmax() == 0
    assert mean[0] > 5 * abs(mean[1])


def test_certainty_stays_finite() -> None:
    """A probability of nought is no minus infinity."""
    features = Features(("a",), (np.zeros((1, 1), np.float32),), np.ones((1, 1), bool))

    def sure(given: Features) -> Matrix:
        return np.float32([[1.0, 0.0]]) if given.mask.any() else np.float32([[0.0, 1.0]])

    np.testing.assert_allclose(leave_one_out(sure, features), [[-np.log(FLOOR)]], rtol=1e-5)
