"""Linear late fusion: its pool counts the prior once, and ecmf is the mean of it and of a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_pipeline.base.modalities import Features, Indices, Matrix
from mer_pipeline.config.train_params import TrainParams
from mer_pipeline.heads.base import Examples
from mer_pipeline.heads.ecmf import Ecmf, EcmfAlone, EcmfParams
from mer_pipeline.heads.late import misled
from mer_pipeline.heads.linear import UNSEEN, fit_linear, log_shares, log_softmax
from mer_pipeline.heads.logreg import LogReg, LogRegParams
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.opinion_pool import SHARPER, OpinionPool, likeliest
from mer_pipeline.heads.strength import choose_strength
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.training.cross_validation import cross_validate
from mer_pipeline.training.member import fit_members, fixed_threads
from tests.planted import Planted, with_strengths
from tests.training.test_cross_validation import features_of, labels_of

PRIOR = np.array([0.6, 0.3, 0.1], dtype=np.float32)


def examples(label: Indices) -> Examples:
    """In five folds."""
    return Examples.of(np.arange(len(label)), label, np.arange(len(label)) % 5, len(PRIOR))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_who_only_knows_the_prior_adds_nothing(modalities: int, seed: int) -> None:
    """However many there are, whatever their weights, whoever is absent."""
    rng = np.random.default_rng(seed)
    pool = OpinionPool(np.log(PRIOR), rng.uniform(0.01, 9, modalities).astype(np.float32))
    x, y = np.zeros((20, 1), np.float32), rng.permutation([0] * 5 + [1] * 5 + [2] * 10)  # shares of its own
    (knows_nothing,) = fit_linear(x, np.eye(3, dtype=np.float32)[y], np.ones(20, np.float32), [1.0])
    said, shares = pool.of([knows_nothing.evidence(x[:8])] * modalities, rng.random((8, modalities)) < 0.7)
    np.testing.assert_allclose(np.exp(log_softmax(said)), np.tile(PRIOR, (8, 1)), atol=5e-3)
    assert ((shares.sum(axis=1) < 1e-6) | (np.abs(shares.sum(axis=1) - 1) < 1e-5)).all()


def test_of_independent_modalities_it_is_bayes_rule() -> None:
    """With weights of one: the exact posterior of two observations that are independent given the class."""
    rng = np.random.default_rng(0)
    likelihoods = rng.dirichlet(np.ones(4), size=(2, 3))  # P(observation | class) of either
    seen = rng.integers(4, size=(6, 2))
    each = [PRIOR * likelihoods[m][:, seen[:, m]].T for m in range(2)]
    exact = PRIOR * likelihoods[0][:, seen[:, 0]].T * likelihoods[1][:, seen[:, 1]].T
    told = [np.log(joint / joint.sum(axis=1, keepdims=True)).astype(np.float32) - np.log(PRIOR) for joint in each]
    said, _ = OpinionPool(np.log(PRIOR), np.ones(2, np.float32)).of(told, np.ones((6, 2), bool))
    np.testing.assert_allclose(np.exp(log_softmax(said)), exact / exact.sum(axis=1, keepdims=True), rtol=1e-4)


def faint(rng: np.random.Generator, n: int, tells: float) -> tuple[Indices, Matrix]:
    """Labels of n clips, and calibrated evidence on each that adds little to the prior."""
    x = rng.normal(size=(n, 3))
    p = np.exp(log_softmax((np.log(PRIOR) + tells * x).astype(np.float32)))
    label = np.array([rng.choice(3, p=each / each.sum()) for each in p.astype(np.float64)])
    return label, np.log(p)[None] - np.log(PRIOR)


def test_it_is_as_sure_as_the_metric_asks() -> None:
    """Faint opinions leave the most frequent class the most probable of nearly all clips. The pool is sharper."""
    label, held_out = faint(np.random.default_rng(1), 400, 0.2)
    pool = OpinionPool.fit(held_out, np.ones((400, 1), bool), examples(label))
    plain = likeliest(held_out, np.eye(3, dtype=np.float32)[label], np.ones(400, np.float32), pool.prior)
    assert ((np.log(PRIOR) + held_out[0]).argmax(axis=1) == 0).mean() > 0.95
    assert pool.weights[0] / plain[0] in SHARPER[1:]

    def f1(a: Matrix) -> float:
        told = OpinionPool(pool.prior, a).of([held_out[0]], np.ones((400, 1), bool))[0]
        return Confusion.of(label, told.argmax(axis=1), 3).weighted_f1

    assert f1(pool.weights) == max(f1(plain * np.float32(s)) for s in SHARPER) > f1(plain) + 0.03


def test_a_class_without_rows_is_never_said() -> None:
    """Its share is nothing, and its logarithm is finite."""
    shares = log_shares(np.eye(3, dtype=np.float32)[[0, 0, 1]], np.ones(3, np.float32))
    np.testing.assert_allclose(np.exp(shares), [2 / 3, 1 / 3, 0], atol=1e-6)
    assert np.isfinite(shares).all()


def test_of_a_class_that_it_has_never_seen_a_modality_tells_nothing() -> None:
    """Neither for nor against it, whatever it sees; of the others it tells as before."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = (rng.normal(size=(40, 3)) + 3 * y[:, None]).astype(np.float32)
    (one,) = fit_linear(x, np.eye(3, dtype=np.float32)[y], np.ones(40, np.float32), [1.0])
    assert one.prior[2] == pytest.approx(UNSEEN)
    told = one.evidence(x)
    assert (told[:, 2] == 0).all()
    assert (told[:, :2].argmax(axis=1) == y).mean() > 0.95
    pooled, _ = OpinionPool(np.log(PRIOR), np.full(1, 64, np.float32)).of([told], np.ones((40, 1), bool))
    assert (pooled.argmax(axis=1) == y).mean() > 0.95


def test_a_modality_learnt_from_other_shares_brings_only_its_evidence() -> None:
    """Two that saw the same, one of them learnt from clips of which few are of class 0, say nearly the same."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 2000)
    x = (rng.normal(size=(4000, 1)) + y[:, None]).astype(np.float32)
    target, weight, few = np.eye(2, dtype=np.float32)[y], np.ones(4000, np.float32), np.arange(1800, 4000)
    (all_of_them,), (some,) = (fit_linear(x[at], target[at], weight[at], [1.0]) for at in (np.arange(4000), few))
    assert np.abs(all_of_them.prior - some.prior).max() > 1
    # The ratio of two classes' evidence is that of their likelihoods, which no share is in.
    gaps = [np.diff(one.evidence(x), axis=1) for one in (all_of_them, some)]
    assert np.abs(gaps[0] - gaps[1]).mean() < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_strength_is_judged_at_the_best_scale(seed: int) -> None:
    """Some labels are wrong, and the weaker penalty overdoes what it learns from them; but it knows more."""
    rng = np.random.default_rng(seed)
    y = np.arange(120) % 3
    x = (rng.normal(size=(120, 20)) + np.eye(3)[y] @ rng.normal(size=(3, 20))).astype(np.float32)
    label = np.where(rng.random(120) < 0.3, rng.integers(3, size=120), y)
    target, weight = np.eye(3, dtype=np.float32)[label], np.ones(120, np.float32)
    strength, evidence = choose_strength(x, target, weight, np.arange(120) % 5, [1e-6, 10.0])
    assert strength == 10.0
    assert log_softmax(evidence)[np.arange(120), label].mean() < np.log(1 / 3)  # as it is, worse than saying nothing
    assert (evidence.argmax(axis=1) == y).mean() > 0.7


@pytest.fixture
def quick(params: TrainParams) -> TrainParams:
    """Two seeds, a few epochs."""
    return params.model_copy(update={"epochs": 4, "seeds": (0, 1)})


def test_ecmf_is_the_mean_of_its_network_and_late_fusion(planted: Planted, quick: TrainParams) -> None:
    """The network is what it is without late fusion, and so are the history and the weights."""
    features, labels = features_of(planted), labels_of(planted)
    with fixed_threads():
        both = cross_validate("ecmf", features, labels, 3, quick)
        network = cross_validate("ecmf", features, labels, 3, quick.with_options("ecmf", late_fusion=False))
        for one, other in zip(both.members, network.members, strict=True):
            head = one.member.head
            assert isinstance(head, Ecmf)
            scored = features.take(np.flatnonzero(labels.fold == one.fold))
            each = [replace(one.member, head=part).predict(scored).probabilities for part in head.parts.values()]
            found = one.member.predict(scored)
            np.testing.assert_allclose(found.probabilities, np.mean(each, axis=0), atol=1e-6)
            np.testing.assert_allclose(each[0], other.member.predict(scored).probabilities, atol=1e-6)
            assert one.history == other.history
    assert np.array_equal(both.weights, network.weights)


def test_seeds_share_late_fusion(planted: Planted, quick: TrainParams, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no chance in it: one for each fold."""
    fitted, fit = [], LogReg.fit

    def count(self: LogReg, features: Features, train: Examples) -> None:
        fitted.append(len(train.rows))
        fit(self, features, train)

    monkeypatch.setattr(LogReg, "fit", count)
    with fixed_threads():
        cross_validate("ecmf", features_of(planted), labels_of(planted), 3, quick)
    assert fitted == [(planted.fold[planted.fold >= 0] != fold).sum() for fold in range(5)]  # the validation one, too


OPINIONS = {  # of the network and of late fusion, where class 0 is right
    "n": ([0.6, 0.4], [0.1, 0.9]),  # only the network is right, and their mean is not
    "N": ([0.9, 0.1], [0.2, 0.8]),  # only the network, and their mean, too
    "l": ([0.4, 0.6], [0.9, 0.1]),  # only late fusion, and their mean, too
    "-": ([0.1, 0.9], [0.2, 0.8]),  # none
}


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        ("n" * 10 + "-" * 50, True),
        ("n" * 9 + "-" * 50, False),  # three standard errors are √9 times 3
        ("n" * 17 + "l" * 3, True),  # 14 more of 20 that differ
        ("n" * 16 + "l" * 4, False),
        ("N" * 10, False),  # the mean loses nothing
        ("N" * 9 + "n", True),
        ("l" * 30, False),
    ],
)
def test_late_fusion_is_left_out_where_it_evidently_misleads(clips: str, expected: bool) -> None:
    """By the validation rows, which are the last of those that late fusion has learnt from."""
    network, late = np.log(np.array([OPINIONS[clip] for clip in clips], dtype=np.float32)).transpose(1, 0, 2)
    one, other = EcmfAlone((2,), 2, EcmfParams()), LogReg((2,), 2, LogRegParams())
    one.validation, other.held_out = network + 7, np.concatenate([-late, late])
    rows = np.arange(len(clips))
    validation = Examples.of(rows, np.zeros_like(rows), np.zeros_like(rows), 2)
    assert misled(one, other, validation) == expected
    assert not misled(one, other, None)


def test_what_late_fusion_says_of_a_watched_row_it_has_not_learnt_from_it() -> None:
    """Labels that are drawn by lot are learnt by heart, and said right by chance where they are held out."""
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(100, 200)).astype(np.float32), np.arange(100) // 5 % 3
    head = LogReg((200,), 3, LogRegParams(c=(10.0,)))
    features = Features(("face",), (x,), np.ones((100, 1), bool))
    head.fit(features, examples(label))
    assert (head.score(features).values.argmax(axis=1) == label).mean() > 0.9
    assert (head.held_out.argmax(axis=1) == label).mean() < 0.5


def test_what_no_sum_of_opinions_can_say_is_left_to_the_network(params: TrainParams) -> None:
    """Whether two modalities agree: either alone tells nothing. The saved head has no late fusion, and is the same."""
    rng = np.random.default_rng(0)
    sides = rng.choice([-1, 1], size=(400, 2))
    x = tuple((sides[:, [m]] * 2 + rng.normal(size=(400, 4)) * 0.5).astype(np.float32) for m in range(2))
    features, y, fold = Features(("face", "voice"), x, np.ones((400, 2), bool)), sides.prod(axis=1), np.arange(400) % 4
    every = Examples.of(np.arange(400), (y > 0).astype(np.int64), fold, 2)
    train, validation = every.at(np.flatnonzero(fold < 3)), every.at(np.flatnonzero(fold == 3))
    params = with_strengths(params, 1e-2, 1e-1).model_copy(update={"epochs": 40, "patience": 20})
    with fixed_threads():
        ((member, _),) = fit_members("ecmf", features, [(train, validation)], [0], 2, params)
        assert isinstance(member.head, Ecmf)
        assert set(member.head.parts) == {"network"}
        again = Ecmf(features.dims, 2, head_of("ecmf", params).params)
        again.restore(member.head.tensors())
        said, same = (replace(member, head=head).predict(features).probabilities for head in (member.head, again))
    assert (said.argmax(axis=1) == every.label).mean() > 0.9
    assert np.array_equal(said, same)
