"""Linear fusion that is late and early at once, and the network that has to earn its weight beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.train_params import TrainParams
from mer_pipeline.heads.anchored import Anchored, best_weights
from mer_pipeline.heads.base import Examples
from mer_pipeline.heads.joint import Joint
from mer_pipeline.heads.linear import log_softmax
from mer_pipeline.heads.logreg import LogReg, LogRegParams
from mer_pipeline.training.member import Member, fit_members, fixed_threads

STRENGTHS = LogRegParams(c=(1e-2, 1e-1))


def whole(*x: np.ndarray) -> Features:
    """Clips that have all modalities."""
    names = tuple(f"m{m}" for m in range(len(x)))
    return Features(names, tuple(each.astype(np.float32) for each in x), np.ones((len(x[0]), len(x)), dtype=bool))


def examples(label: np.ndarray) -> Examples:
    """In five folds."""
    n = len(label)
    return Examples.of(np.arange(n), label.astype(np.int64), np.arange(n) % 5, int(label.max()) + 1)


def cross_entropy(logits: np.ndarray, label: np.ndarray) -> float:
    """The mean, in nats."""
    return -float(log_softmax(logits)[np.arange(len(label)), label].mean())


@pytest.fixture(scope="module")
def shared() -> tuple[Features, np.ndarray]:
    """Two modalities with a common disturbance that is larger than what they say: their difference tells the class."""
    rng = np.random.default_rng(0)
    y, disturbance = rng.integers(2, size=200), 3 * rng.normal(size=(200, 1))
    sign = (2 * y - 1)[:, None]
    return whole(disturbance + sign + 0.3 * rng.normal(size=(200, 3)), disturbance + 0.3 * rng.normal(size=(200, 3))), y


def test_what_only_the_difference_of_modalities_tells_is_found_by_joint(shared: tuple[Features, np.ndarray]) -> None:
    """Late fusion can't take away what both modalities share; the regression on both side by side can."""
    features, y = shared
    train = examples(y)
    late, joint = LogReg(features.dims, 2, STRENGTHS), Joint(features.dims, 2, STRENGTHS)
    late.fit(features, train)
    joint.fit(features, train)
    assert (late.held_out.argmax(axis=1) == y).mean() < 0.8
    assert (joint.held_out.argmax(axis=1) == y).mean() > 0.95
    weights = joint.score(features.take(np.arange(64))).weights
    assert weights.shape == (64, 2)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


def test_joint_is_as_sure_as_it_is_right(shared: tuple[Features, np.ndarray]) -> None:
    """No other scale of its evidence has a lower cross-entropy on held-out clips."""
    features, y = shared
    joint = Joint(features.dims, 2, STRENGTHS)
    noisy = np.where(np.arange(200) % 7 == 0, 1 - y, y)
    joint.fit(features, examples(noisy))
    evidence = joint.held_out - joint.pool.prior
    losses = [cross_entropy(joint.pool.prior + s * evidence, noisy) for s in (0.5, 0.95, 1.0, 1.05, 2.0)]
    assert min(losses) == losses[2]


def test_joint_does_not_depend_on_the_order_of_modalities() -> None:
    """Up to rounding, also where clips lack some."""
    rng = np.random.default_rng(1)
    y = rng.integers(3, size=150)
    x = [(rng.normal(size=(3, dim))[y] + rng.normal(size=(150, dim))).astype(np.float32) for dim in (3, 5, 4)]
    mask = rng.random((150, 3)) > 0.2
    mask[:, 0] |= ~mask.any(axis=1)
    x = [np.where(mask[:, [m]], each, 0) for m, each in enumerate(x)]
    features = Features(("a", "b", "c"), tuple(x), mask)
    said = []
    for order in (("a", "b", "c"), ("c", "a", "b")):
        own = features.select(order)
        joint = Joint(own.dims, 3, STRENGTHS)
        joint.fit(own, examples(y))
        said.append(log_softmax(joint.score(own.take(np.arange(64))).values))
    np.testing.assert_allclose(*said, atol=2e-2)


def test_of_one_modality_joint_has_nothing_to_put_side_by_side() -> None:
    """It gives the classes of logreg."""
    rng = np.random.default_rng(2)
    y = rng.integers(2, size=64)
    features = whole(rng.normal(size=(64, 4)) + y[:, None])
    joint, late = Joint(features.dims, 2, STRENGTHS), LogReg(features.dims, 2, STRENGTHS)
    joint.fit(features, examples(y))
    late.fit(features, examples(y))
    assert len(joint.linear) == 1
    assert np.array_equal(joint.score(features).weights, np.ones((64, 1)))


@pytest.mark.parametrize(("clips", "least", "most"), [(400, 0.7, 2.0), (8, 0.0, 0.4)])
def test_the_network_earns_its_weight_by_clips(clips: int, least: float, most: float) -> None:
    """It is right in four of five clips, and says so, where linear fusion says nothing: a few clips are not enough."""
    label = np.arange(clips) % 2
    told = np.where(np.arange(clips) % 5 == 0, 1 - label, label)
    network = np.log(0.6 * np.eye(2)[told] + 0.2)
    a, b = best_weights(np.stack([np.full((clips, 2), np.log(0.5)), network]), np.eye(2)[label], np.ones(clips))
    assert a == pytest.approx(1, abs=0.01)
    assert least < b < most


def test_a_network_that_is_wrong_gets_no_weight() -> None:
    """However sure it is; the weight of linear fusion stays."""
    label = np.arange(100) % 2
    linear, network = np.log(0.8 * np.eye(2)[label] + 0.1), np.log(0.98 * np.eye(2)[1 - label] + 0.01)
    a, b = best_weights(np.stack([linear, network]), np.eye(2)[label], np.ones(100))
    assert a >= 1
    assert b == 0


def agreement() -> tuple[Features, Examples]:
    """Whether two modalities agree, which either alone tells nothing of; 400 clips in four folds."""
    rng = np.random.default_rng(0)
    sides = rng.choice([-1, 1], size=(400, 2))
    features = whole(*(sides[:, [m]] * 2 + rng.normal(size=(400, 4)) * 0.5 for m in range(2)))
    return features, Examples.of(np.arange(400), (sides.prod(axis=1) > 0).astype(np.int64), np.arange(400) % 4, 2)


def trained(params: TrainParams, *, validation: bool) -> tuple[Member, Features, Examples]:
    """On `agreement`, with or without a validation fold."""
    features, every = agreement()
    inside, beside = every.at(np.flatnonzero(every.fold < 3)), every.at(np.flatnonzero(every.fold == 3))
    params = params.with_options("anchored", c=[1e-2]).model_copy(update={"d": 16, "epochs": 30, "patience": 15})
    with fixed_threads():
        ((member, _),) = fit_members("anchored", features, [(inside, beside if validation else None)], [0], 2, params)
    return member, features, every


def test_where_modalities_compete_the_network_leads(params: TrainParams) -> None:
    """No sum of evidence says whether two modalities agree. The weights say that the network does; linear fusion alone
    is at chance."""
    member, features, every = trained(params, validation=True)
    head = member.head
    assert isinstance(head, Anchored)
    assert head.weights[1] > 0.5
    said = member.predict(features).probabilities
    linear = replace(member, head=head.joint).predict(features).probabilities
    assert (said.argmax(axis=1) == every.label).mean() > 0.9
    assert (linear.argmax(axis=1) == every.label).mean() < 0.65


def test_without_a_validation_fold_it_is_joint(params: TrainParams) -> None:
    """Nothing can tell what the network is worth: it is not trained, and the probabilities are those of joint."""
    member, features, _ = trained(params, validation=False)
    head = member.head
    assert isinstance(head, Anchored)
    assert head.network is None
    joint = replace(member, head=head.joint).predict(features)
    found = member.predict(features)
    np.testing.assert_allclose(found.probabilities, joint.probabilities, atol=1e-6)
    np.testing.assert_allclose(found.weights, joint.weights, atol=1e-6)
